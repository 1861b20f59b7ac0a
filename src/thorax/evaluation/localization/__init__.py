"""How well attribution maps agree with boxes drawn by radiologists."""
