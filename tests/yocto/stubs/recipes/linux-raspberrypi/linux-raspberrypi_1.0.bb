# Appended to by the layer.
