"""An error that the operator sees: what is wrong, and the remedy."""


class Failure(Exception):
    def __init__(self, message, remedy):
        super().__init__(message)
        self.message = message
        self.remedy = remedy
