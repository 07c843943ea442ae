"""How well and how fast are final values predicted?"""
