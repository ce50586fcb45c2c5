"""Codebooks follow what they are used for."""

from __future__ import annotations

import torch

from tests.training.mimi.small import BINS, noise, small_network
from training.mimi.quantizer import TrainableCodebook


def test_centroids_move_to_the_mean_of_their_vectors() -> None:
    book = TrainableCodebook(bins=2, inner=3)
    torch.manual_seed(0)
    near, far = torch.randn(200, 3) + 4, torch.randn(100, 3) - 4
    x = torch.cat((near, far))
    book.start(x)
    book.embedding_sum.copy_(torch.stack((near[0], far[0])) * book.cluster_usage[:, None])
    for _ in range(1500):
        codes = book.nearest(x)
        book.learn(book.sums(x, codes), x)
    torch.testing.assert_close(book.centroids, torch.stack((near.mean(0), far.mean(0))), atol=0.02, rtol=0)


def test_an_entry_that_nothing_chooses_starts_again_where_vectors_are() -> None:
    book = TrainableCodebook(bins=2, inner=1)
    book.embedding_sum.copy_(torch.tensor([[0.0], [1000.0]]))
    x = torch.linspace(-1, 1, 50)[:, None]
    for _ in range(400):
        book.learn(book.sums(x, book.nearest(x)), x)
    assert book.centroids.abs().max() < 1.5
    assert set(book.nearest(x).tolist()) == {0, 1}


def test_the_first_batch_places_every_entry() -> None:
    network = small_network().train()
    network(noise(2, 20))
    books = [*network.quantizer.rvq_first.codebooks(), *network.quantizer.rvq_rest.codebooks()]
    assert all(book._initialized.item() == 1 for book in books)
    assert all(len(book.centroids.unique(dim=0)) == BINS for book in books)


def test_fewer_codebooks_give_the_sum_of_the_first() -> None:
    network = small_network().train()
    pcm = noise(2, 5)
    network(pcm)
    network.eval()
    with torch.no_grad():
        latents = network.encode(pcm)
        quantized = network.quantizer(latents, torch.tensor([0, 2]))
    books = network.quantizer.rvq_rest.codebooks()
    expected = books[0].centroids[quantized.codes[1, :, 1]] + books[1].centroids[quantized.codes[1, :, 2]]
    assert not quantized.acoustic[0].abs().max() > 1e-6
    torch.testing.assert_close(quantized.acoustic[1], expected, atol=1e-5, rtol=1e-5)


def test_perplexity_counts_entries_in_use() -> None:
    network = small_network()
    book = network.quantizer.rvq_first.codebooks()[0]
    book.cluster_usage.zero_()[:4] = 7.0
    assert abs(network.quantizer.perplexities()[0] - 4) < 1e-4
    assert abs(network.quantizer.perplexities()[1] - BINS) < 1e-3
