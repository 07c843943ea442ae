"""proto: the wire. Messages, their generated code and the translation to and from dataclasses; imports only srm."""
