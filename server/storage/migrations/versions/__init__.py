"""The revisions of the tables, one file each, oldest first. A released one is never edited."""
