"""Group-WSSS: who sends messages to whom, what they are, and what dropout hides."""

import torch
from drawn_photographs import views
from objective_training import new_objective

from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives.group_wsss import Messages, graph_dropout, neighbours_of


def module(channels: int = 3) -> Messages:
    """With weights that matter."""
    torch.manual_seed(0)
    messages = Messages(channels)
    for parameter in messages.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return messages


def test_images_of_a_group_that_share_a_tag_are_neighbours():
    """Four by four: the fifth has the first's tag and is in another group; nobody is its own neighbour."""
    target = torch.tensor([[1.0, 0], [1, 1], [0, 1], [0, 0], [1, 0], [1, 1]])
    linked = [row.nonzero()[:, 0].tolist() for row in neighbours_of(target)]
    assert linked == [[1], [0, 2], [1], [], [5], [4]]


def test_a_message_agrees_with_loops_over_places():
    """The other's maps by the soft-max over its places, times the gate."""
    messages = module()
    maps, other = torch.randn(3, 2, 2), torch.randn(3, 2, 2)
    query = messages.query(maps[None])[0].flatten(1)
    key = messages.key(other[None])[0].flatten(1)
    for place in range(4):
        weights = torch.stack([query[:, place] @ key[:, k] for k in range(4)]).softmax(dim=0)
        seen = sum(other.flatten(1)[:, k] * weights[k] for k in range(4))
        gate = (messages.gate.weight[0, :, 0, 0] @ seen).sigmoid()
        torch.testing.assert_close(messages.attend(maps, other).flatten(1)[:, place], seen * gate, rtol=1e-4, atol=1e-5)


def test_a_node_without_neighbours_stays_and_a_node_between_two_hears_both():
    """Its message is the mean of theirs; the order of images changes nothing."""
    messages, maps = module(), torch.randn(4, 3, 2, 2)
    linked = torch.tensor([[0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]]).bool()
    updated = messages(maps, linked)
    assert torch.equal(updated[3], maps[3])
    both = torch.stack([messages.attend(maps[1], maps[k]) for k in (0, 2)]).mean(dim=0)
    torch.testing.assert_close(updated[1], messages._update(maps[1][None], messages.fuse(both[None]))[0])
    torch.testing.assert_close(messages(maps.flip(0), linked.flip(0, 1)).flip(0), updated)


def test_an_update_lies_between_the_node_and_its_candidate():
    """A gate that is shut leaves the node; one that is open gives tanh of the candidate."""
    messages, node, message = module(), torch.randn(1, 3, 2, 2), torch.randn(1, 3, 2, 2)
    torch.nn.init.zeros_(messages.renew.weight)
    for bias, expected in ((-50.0, node), (50.0, None)):
        torch.nn.init.constant_(messages.renew.bias, bias)
        if expected is None:  # then the node is reset by 1 as well
            expected = messages.candidate(torch.cat([message, node], dim=1)).tanh()
        torch.testing.assert_close(messages._update(node, message), expected)


def test_dropout_by_hand():
    """Mean maps 4, 2 and 0: above 0.7 · 4 the place is halved, the others stay; or all are weighted by σ of the mean."""
    maps = torch.tensor([[[[6.0, 3.0, 0.0]], [[2.0, 1.0, 0.0]]]])
    torch.testing.assert_close(graph_dropout(maps, hides=True, threshold=0.7), maps * torch.tensor([0.5, 1, 1]))
    shares = torch.tensor([4.0, 2.0, 0.0]).sigmoid()
    torch.testing.assert_close(graph_dropout(maps, hides=False, threshold=0.7), maps * (shares + 1) / 2)


@torch.no_grad()
def test_images_without_neighbours_learn_from_their_own_maps():
    """Without dropout and messages the group's loss is that of the image."""
    objective, batch = (
        new_objective({"name": "group_wsss", "drop_rate": 1.0, "drop_threshold": 1.0}).eval(),
        views([0, 1]),
    )
    torch.nn.init.zeros_(objective.network.classifier.weight)
    terms = objective(batch)
    torch.testing.assert_close(terms["tags"] / 0.4, terms["group"])
    torch.testing.assert_close(terms["group"], multilabel_soft_margin(torch.zeros(2, 3), batch["target"]))


def test_the_group_teaches_the_network_and_its_messages():
    """The kept network is a plain classifier."""
    objective = new_objective("group_wsss")
    torch.nn.init.normal_(objective.network.classifier.weight, std=0.3)
    objective(views([3, 0]))["group"].backward()
    for part in (objective.messages.query, objective.messages.fuse, objective.messages.renew):
        assert part.weight.grad.any()
    assert objective.network.classifier.weight.grad.any()
    assert objective.network.state_dict().keys() == new_objective("tags").network.state_dict().keys()
