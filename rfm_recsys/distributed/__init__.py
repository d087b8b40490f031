"""LinRFM on a Dask cluster: interactions that do not fit one machine, the loop and the kernels of one machine.

>>> from distributed import Client
>>> from rfm_recsys import LinRFM
>>> from rfm_recsys.distributed import fit, recommend_all, with_users
>>> client = Client("tcp://scheduler:8786")  # doctest: +SKIP
>>> table = fit("interactions/", client, LinRFM(64), users="users")  # doctest: +SKIP
>>> recommend_all(table, "users", "recommendations", client)  # doctest: +SKIP
>>> with_users(table, "users", ["ann"]).recommend("ann")  # doctest: +SKIP
"""

from rfm_recsys.core.extras import extra

with extra("distributed"):
    from rfm_recsys.distributed.fit import fit
    from rfm_recsys.distributed.users import recommend_all, with_users

__all__ = ["fit", "recommend_all", "with_users"]
