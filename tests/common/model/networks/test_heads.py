import pytest
import torch
import torch.nn.functional as F

from common.errors import PodiumError
from common.model.deferred import DeferredLogits
from common.model.networks.heads import ConvHead, CosineHead, DenseHead, LinearHead


def test_linear_head_classifies_the_average_of_the_map():
    head, features = LinearHead(8, 3).eval(), torch.randn(2, 8, 4, 5)
    expected = torch.stack([head.fc(sample.flatten(1).mean(1)) for sample in features])
    torch.testing.assert_close(head(features), expected)


def test_dense_head_is_its_layers_by_hand_and_scales_each_feature_over_the_batch():
    head, features = DenseHead(8, 3, hidden=[6, 5], dropout=0.0).train(), torch.randn(7, 8, 4, 5)
    pooled = features.flatten(2).mean(2)
    x = (pooled - pooled.mean(0)) / (pooled.var(0, unbiased=False) + 1e-5).sqrt()
    for layer in (head.dense[2], head.dense[5]):
        x = (x @ layer.weight.T + layer.bias).clamp_min(0)
    torch.testing.assert_close(head(features), x @ head.fc.weight.T + head.fc.bias)
    scaled = features * torch.tensor([1e-2, 1, 1e3, 1, 1, 5, 1, 1])[:, None, None]
    torch.testing.assert_close(head(scaled), head(features), atol=0.2, rtol=0.1)  # the epsilon alone
    assert len(DenseHead(8, 3, hidden=[]).dense) == 2
    with pytest.raises(PodiumError, match=r"model.head.hidden must be .* got \[0\]"):
        DenseHead(8, 3, hidden=[0])


def test_conv_head_is_the_mean_over_all_windows_of_stride_two():
    head, features = ConvHead(4, 3).eval(), torch.randn(1, 4, 8, 7)
    weight, bias = head.classify.weight, head.classify.bias
    assert bias is not None
    windows = [features[0, :, y : y + 3, x : x + 3] for y in (0, 2, 4) for x in (0, 2, 4)]
    expected = torch.stack([(weight * window).sum((1, 2, 3)) + bias for window in windows]).mean(0)
    torch.testing.assert_close(head(features)[0], expected)


@pytest.mark.parametrize(("hidden", "pool"), [(None, 3), (16, 2)])
def test_conv_head_pools_a_map_of_eight_like_the_originals(hidden, pool):
    """A window of 3 after the plain head (8 → 3 → 1), of 2 after that with a hidden layer (8 → 6 → 2 → 1)."""
    head, features = ConvHead(4, 5, hidden=hidden).eval(), torch.randn(2, 4, 8, 8)
    maps = head.classify(head.squeeze(features))
    assert maps.shape == (2, 5, pool, pool)
    torch.testing.assert_close(head(features), F.avg_pool2d(maps, pool).flatten(1))


def test_cosine_head_is_the_scaled_cosine_whatever_the_lengths():
    head, features = CosineHead(8, 3, scale=20), torch.randn(2, 8, 4, 5)
    average = features.mean((-2, -1))
    expected = 20 * F.cosine_similarity(average[:, None], head.fc.weight, dim=-1)
    torch.testing.assert_close(head(features), expected)
    with torch.no_grad():
        head.fc.weight.mul_(torch.tensor([[0.1], [1.0], [30.0]]))
    torch.testing.assert_close(head(7 * features), expected)


def test_cosine_head_computes_in_float32_under_autocast_and_in_bfloat16_models():
    head, features = CosineHead(64, 9), torch.randn(4, 64, 2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        inside = head(features)
    torch.testing.assert_close(inside, head(features), rtol=0, atol=0)
    rounded = head.bfloat16()(features.bfloat16())
    assert rounded.dtype == torch.float32
    exact = CosineHead(64, 9).double()
    exact.load_state_dict(head.state_dict())
    torch.testing.assert_close(rounded.double(), exact(features.bfloat16().double()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [LinearHead, CosineHead])
def test_chunks_defer_the_logits_in_training_only(kind):
    head, features = kind(8, 3, chunk=2), torch.randn(5, 8, 4, 4)
    deferred = head.train()(features)
    assert isinstance(deferred, DeferredLogits) and deferred.chunk == 2
    torch.testing.assert_close(deferred.logits(), head.eval()(features))


@pytest.mark.parametrize(
    "head",
    [
        LinearHead(8, 3, dropout=0.5),
        ConvHead(8, 3, dropout=0.5),
        CosineHead(8, 3, dropout=0.5),
        DenseHead(8, 3, hidden=[6, 5], dropout=0.5),
    ],
    ids=lambda head: type(head).__name__,
)
def test_dropout_is_in_training_only(head):
    features = torch.randn(2, 8, 6, 6)
    head.train()
    assert not torch.equal(head(features), head(features))
    head.eval()
    assert torch.equal(head(features), head(features))
