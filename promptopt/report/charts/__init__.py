"""Charts as SVG, drawn by hand: readable without scripts, at any width, on light and dark ground."""
