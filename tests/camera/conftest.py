from hypothesis import settings
from jaxtyping import install_import_hook

from tests.camera import typechecking

install_import_hook("camera", f"{typechecking.__name__}.checked")

# a busy machine is slow, not wrong
settings.register_profile("camera", deadline=None)
settings.load_profile("camera")
