import pytest

from clients.node.answering import answer
from protocols.link import TransportError
from protocols.phase import PEER_LOST, PhaseRequest, Status

REQUEST = PhaseRequest("r1", "train", 1, 60, "{}")


@pytest.mark.parametrize(
    ("party", "code"),
    [("telecom", PEER_LOST), ("hub", "transport_error"), (None, "transport_error")],
)
def test_loss_of_another_partner_is_told_apart_from_our_own(party, code):
    def phase(request):
        raise TransportError("nothing came", retryable=True, party=party)

    reply = answer(REQUEST, phase)
    assert (reply.status, reply.code, reply.reason) == (Status.FAILED, code, "nothing came")


def test_text_of_an_unknown_error_stays_here(caplog):
    def phase(request):
        raise ValueError("A123456789")

    reply = answer(REQUEST, phase)
    assert (reply.status, reply.code) == (Status.FAILED, "internal_error")
    assert "A123456789" not in reply.reason + caplog.text
    assert "test_answering.py" in caplog.text
