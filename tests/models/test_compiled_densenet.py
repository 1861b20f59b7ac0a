import subprocess
import sys

import pytest

from thorax.models import build_classifier
from thorax.recipe.sections import Network

# In a process of its own: a compiler cannot look through the type checks of the test run.
COMPILED = """
import copy, torch
from thorax.models import build_classifier
from thorax.recipe.sections import Network

torch.manual_seed(0)
arguments = {"growth_rate": 4, "block_config": (3, 2)}
net = build_classifier(Network(backbone="densenet121", arguments=arguments, input_size=32), 2)
twin = copy.deepcopy(net)
joined = []

def backend(graph, _):
    joined.extend(len(node.args[0]) for node in graph.graph.nodes if node.target is torch.cat)
    return graph

images = torch.rand(4, 1, 32, 32)
found, expected = torch.compile(net, backend=backend)(images), twin(images)
found.sum().backward()
expected.sum().backward()
assert torch.equal(found, expected)
for ours, theirs in zip(net.parameters(), twin.parameters(), strict=True):
    torch.testing.assert_close(ours.grad, theirs.grad)
print(sorted(joined))
"""


@pytest.mark.slow
def test_a_compiled_densenet_grows_and_computes_the_same():
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, check=False)
    # What there is with what is new; and, in each layer, the one thing that there is.
    assert done.stdout.strip() == str([1] * 5 + [2] * 5), done.stderr


def test_other_backbones_stay_as_they_are():
    net = build_classifier(Network(backbone="resnet10t", input_size=32), 2)
    assert not [module for module in net.modules() if "forward" in vars(module)]
