"""The model store: folders of weights that know what they are."""
