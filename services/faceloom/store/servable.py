"""What has to hold for models that are served, alone and together."""

from collections.abc import Mapping, Sequence
from itertools import combinations

from faceloom.core.errors import UsageError
from faceloom.runtime.service import service as service_named
from faceloom.store.licences import needs_permission
from faceloom.store.model import Model


def check_servable(model: Model, service: str, permission: str | None) -> None:
    """Makes sure that a model is the service's, and may be served.

    Args:
        model: Intact.
        service: Short name of the service.
        permission: Who allowed it, if the licence asks for that.

    Raises:
        UsageError: It is not, or may not.
    """
    if model.service != service:
        raise UsageError(f"{model.folder} is a {model.service} model, not one for {service}")
    if permission is None and needs_permission(model.license):
        raise UsageError(
            f"{model.folder} is under the {model.license}, which forbids to serve it to others; if its"
            " owner allows it, say so: faceloom profile create … --permission TEXT"
        )


def check_together(models: Mapping[str, Sequence[Model]]) -> None:
    """Makes sure that models, by service and the default one first, can be served together.

    Raises:
        UsageError: Requests could not tell two models apart, or one does not fit the others.
        BrokenModel: What a model says of itself is nothing that its service knows.
    """
    for service, versions in models.items():
        for one, other in combinations(versions, 2):
            if (one.name, one.version) == (other.name, other.version):
                raise UsageError(
                    f"{one.folder} and {other.folder} are both {service} {one.name}/{one.version};"
                    " requests could not tell them apart"
                )
        for model in versions:
            service_named(service).check_model(model, models)
