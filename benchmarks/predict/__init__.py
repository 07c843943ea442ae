"""How well are final values predicted, and how fast?"""
