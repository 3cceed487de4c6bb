"""Rooms made of arithmetic, with their exact geometry: the project's source of ground truth.

`clips.plan_clip` and `clips.render_clip` make one finished clip. For many at once, `batch.pack`, `baking.bake` and
`raycaster.render` take batches of worlds on any device.
"""
