"""The rule of the site, in the README's words."""

from benchmarks.site.content import BODY
from benchmarks.site.models import WatchedOrder
from notifications import Change, Draft, Kind, rule

news = Kind("bench.news")


@rule(WatchedOrder, updated={"state"})
def order_moved(change: Change) -> Draft:
    number = change.new["state"]
    return Draft(
        news, to=change.instance.customer_id, title=f"Order is {number}", body=BODY, url="/orders/1/", data={"n": number}
    )
