import numpy as np

from training.learning.feed import Examples, Feed

PIXELS, CLASSES = np.arange(100, dtype=np.uint8).reshape(100, 1, 1, 1), np.arange(100)
EXAMPLES = Examples(PIXELS, CLASSES, np.arange(10, 100))


def batches(feed):
    return [feed[number][1].tolist() for number in range(len(feed))]


def test_an_epoch_has_every_example_once_in_batches_of_nearly_one_size():
    told = batches(Feed(EXAMPLES, 32))
    assert [len(batch) for batch in told] == [30, 30, 30]
    assert sum(told, []) == list(range(10, 100))  # noqa: RUF017 - short lists
    sizes = [len(batch) for batch in batches(Feed(EXAMPLES, 7))]
    assert (len(sizes), sum(sizes), set(sizes)) == (13, 90, {6, 7})


def test_pictures_and_classes_stay_together():
    feed = Feed(EXAMPLES, 32, seed=1)
    feed.shuffle(0)
    pixels, classes = feed[0]
    np.testing.assert_array_equal(pixels.ravel(), classes)


def test_the_seed_and_the_epoch_decide_the_order():
    feed, same = Feed(EXAMPLES, 32, seed=1), Feed(EXAMPLES, 32, seed=1)
    orders = []
    for epoch in (0, 1, 0):
        feed.shuffle(epoch)
        orders.append(batches(feed))
    same.shuffle(1)
    assert orders[0] == orders[2] != orders[1] == batches(same)
    assert sorted(sum(orders[0], [])) == list(range(10, 100))  # noqa: RUF017
