"""What is disclosed, in the shapes that other programs read. The rows of a bundle are the proof."""
