# Named by a recipe of the layer.
