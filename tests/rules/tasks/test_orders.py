"""The orders of statuses, told as the product contract tells them."""

from app.rules.status import ITEM_FINAL, ITEM_ORDER, ITEM_USABLE, SUB_ORDER, TASK_FINAL, TaskStatus


def as_table(order: dict[str, int]) -> str:
    return " < ".join(f"`{text}`" for text, _ in sorted(order.items(), key=lambda pair: pair[1]))


def test_the_orders_are_those_of_the_contract() -> None:
    items, subs = as_table(ITEM_ORDER), as_table(SUB_ORDER)
    print(f"\nItem status, ordered: {items}\nSub-statuses: {subs}")
    assert items == "`waiting` < `running` < `main_succeeded` < `failed` < `part_failed` < `succeeded`"
    assert subs == "`waiting` < `running` < `sub_failed` < `sub_succeeded`"


def test_no_two_statuses_of_an_order_share_a_rank() -> None:
    assert len(set(ITEM_ORDER.values())) == len(ITEM_ORDER) == 6
    assert len(set(SUB_ORDER.values())) == len(SUB_ORDER) == 4


def test_which_statuses_are_final_and_which_usable() -> None:
    assert sorted(ITEM_FINAL) == ["failed", "part_failed", "succeeded"]
    assert sorted(ITEM_USABLE) == ["main_succeeded", "part_failed", "succeeded"]
    assert sorted(TASK_FINAL) == ["canceled", "expired", "failed", "part_failed", "succeeded"]


def test_the_statuses_of_a_task_are_those_of_the_contract() -> None:
    assert [status.value for status in TaskStatus] == [
        "queued",
        "submitting",
        "unconfirmed",
        "running",
        "main_succeeded",
        "succeeded",
        "part_failed",
        "failed",
        "expired",
        "canceled",
    ]
