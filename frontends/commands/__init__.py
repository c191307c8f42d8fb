"""The commands of `walytis`: options in, answers of a verb out, as JSON or for people."""
