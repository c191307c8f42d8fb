"""Programs on top of the library: the `walytis` command. Extras only; importing this loads nothing."""
