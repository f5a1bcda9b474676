import math

import pytest
from ullme_focal import FocalDPO

from ullme.testing import LossConformance, random_loss_inputs


class TestFocalDPO(LossConformance):
    name = "focal-dpo"


def test_is_plain_dpo_at_gamma_0():
    from torch.nn.functional import logsigmoid
    from torch.testing import assert_close

    batch = random_loss_inputs(FocalDPO.needs)
    margin = batch.preferences(FocalDPO.needs[0]).margin
    assert_close(FocalDPO(FocalDPO.Config(gamma=0))(batch), -logsigmoid(0.1 * margin))


def test_a_pair_without_preference_weighs_a_quarter():
    batch = random_loss_inputs(FocalDPO.needs)
    scores = batch.likelihoods[FocalDPO.needs[0]]
    scores.reference.copy_(scores.total.detach())  # every margin is 0, so p is 1/2
    assert FocalDPO()(batch).tolist() == pytest.approx([0.25 * math.log(2)] * 8)
