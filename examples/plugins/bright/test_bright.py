"""The service keeps what every face of Hven promises."""

from hven.testing.face import FaceContract


class TestBright(FaceContract):
    name = "bright"
