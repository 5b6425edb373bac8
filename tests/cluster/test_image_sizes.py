"""How large the images are, as the node has them: unpacked, with their base."""

import pytest
from tests.cluster.cluster import Cluster, within
from tests.deploy.test_references import built_images

pytestmark = pytest.mark.cluster

_FRONT_BYTES = 250e6


def sizes(cluster: Cluster) -> dict[str, int] | None:
    """Bytes by image, as soon as the nodes have told of all."""
    found = {
        "faceloom/" + name.partition("faceloom/")[2].partition(":")[0]: image["sizeBytes"]
        for node in cluster.objects("nodes")
        for image in node["status"]["images"]
        # What was built again has left one behind without a name.
        for name in image["names"] or ()
    }
    own = {name: found[name] for name in built_images() & found.keys()}
    return own if own.keys() == built_images() else None


def test_the_front_is_small(cluster: Cluster) -> None:
    found = within(360, "the node does not tell of all images", lambda: sizes(cluster))
    print(*(f"{name} {size / 1e6:.0f} MB" for name, size in sorted(found.items())), sep="\n")
    assert found["faceloom/front"] < _FRONT_BYTES
