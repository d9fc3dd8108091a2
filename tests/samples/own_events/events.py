NAME = "the project's own events"
