"""Web pages for people: label faces, draw, look at datasets, order builds. Without torch and numpy."""
