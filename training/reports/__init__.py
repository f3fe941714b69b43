"""What a run leaves for people: metrics a line, a picture, a page, a preview before it starts, and warnings on the way."""
