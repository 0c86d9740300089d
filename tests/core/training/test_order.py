from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from core.training.order import Order, derived

groups = st.lists(st.integers(0, 3), min_size=1, max_size=12)


@st.composite
def orders(draw):
    grouped = draw(groups)
    repeats = draw(st.lists(st.integers(1, 3), min_size=len(grouped), max_size=len(grouped)))
    return grouped, repeats, draw(st.integers(1, 5)), draw(st.integers(0, 2**32 - 1))


def order_of(parts, batch=None):
    grouped, repeats, size, seed = parts
    return Order(grouped, repeats, batch=batch or size, seed=seed)


@given(parts=orders(), epoch=st.integers(0, 3))
def test_an_epoch_shows_every_picture_as_often_as_it_is_repeated(parts, epoch):
    order = order_of(parts)
    shown = Counter(
        showing.example
        for step in range(epoch * order.batches, (epoch + 1) * order.batches)
        for showing in order.batch_of(step)
    )
    assert all(shown[example] >= repeats for example, repeats in enumerate(parts[1]))
    # No more than what fills each group's last batch is shown once more.
    assert sum(shown.values()) - sum(parts[1]) <= (parts[2] - 1) * len(set(parts[0]))


@given(parts=orders(), step=st.integers(0, 40))
def test_a_batch_is_full_and_of_one_group(parts, step):
    batch = order_of(parts).batch_of(step)
    assert len(batch) == parts[2]
    assert len({parts[0][showing.example] for showing in batch}) == 1


@given(parts=orders(), steps=st.lists(st.integers(0, 40), min_size=1, max_size=5))
def test_a_batch_depends_on_its_step_alone(parts, steps):
    asked = order_of(parts)
    for step in steps:
        assert asked.batch_of(step) == order_of(parts).batch_of(step)


@given(parts=orders())
def test_no_two_showings_have_a_seed_in_common(parts):
    order = order_of(parts)
    showings = [showing for step in range(20) for showing in order.batch_of(step)]
    assert len({showing.seed for showing in showings}) == len(showings)
    assert all(0 <= showing.seed < 2**63 for showing in showings)


def test_epochs_and_seeds_have_orders_of_their_own():
    def first_epoch(seed, epoch=0):
        order = Order([0] * 20, [1] * 20, batch=1, seed=seed)
        return [order.batch_of(epoch * 20 + i)[0].example for i in range(20)]

    assert first_epoch(1) == first_epoch(1)
    assert sorted(first_epoch(1)) == list(range(20)) == sorted(first_epoch(1, epoch=1))
    assert len({tuple(first_epoch(seed, epoch)) for seed in (1, 2) for epoch in (0, 1)}) == 4


def test_showings_of_a_picture_are_counted():
    order = Order([0], [2], batch=1, seed=3)
    assert [order.batch_of(step)[0].count for step in range(6)] in (
        [a for pair in pairs for a in pair]
        for pairs in (
            ([a, 1 - a], [2 + b, 3 - b], [4 + c, 5 - c])
            for a in (0, 1)
            for b in (0, 1)
            for c in (0, 1)
        )
    )


def test_pictures_of_a_small_group_fill_a_batch_in_turn():
    batch = Order([0, 0, 0], [1, 1, 1], batch=8, seed=0).batch_of(0)
    counted = Counter(showing.example for showing in batch)
    assert sorted(counted.values()) == [2, 3, 3]


def test_a_seed_is_the_same_on_every_machine():
    assert derived(7, "epoch", 3) == 3860382593686359664
    assert derived(7, "epoch", 3) != derived(7, "epoch", 4)
