"""proto: the wire. Messages, their generated code, and their translation to and from dataclasses; imports only srm."""
