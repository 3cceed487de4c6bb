"""The shapes of camera/ are checked here as in its own tests: whoever imports it first decides for the whole run."""

from jaxtyping import install_import_hook

from tests.camera import typechecking

install_import_hook("camera", f"{typechecking.__name__}.checked")
