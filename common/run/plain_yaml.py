"""The YAML of configurations as Podium writes it, and no more of YAML than that, whoever wrote a file.

What YAML has beside values makes small files large or slow: aliases, merges, tags, numbers of base 2 or 60.
"""

import re
from typing import Any, ClassVar

import yaml

from common.errors import PodiumError

MOST, DEEPEST = 50_000, 60  # values (aliases written out), and levels
ODD_KEYS = 1_000  # keys that are no text: numbers can be chosen that a dictionary takes for ever over
STANDARD = "tag:yaml.org,2002:"


def load(text: str) -> Any:
    """What the text says. Raises PodiumError or YAMLError where it says more than a configuration does."""
    _check_brackets(text)
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check_size(node)
        return loader.construct_document(node)
    finally:
        loader.dispose()


def dump(value: Any) -> str:
    """`value` as `load` takes it: what stands in two places is written twice."""
    return yaml.dump(value, Dumper=_Dumper, allow_unicode=True, sort_keys=False)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {
        first: [(tag, form) for tag, form in known if tag.removeprefix(STANDARD) in ("null", "bool", "merge")]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.count = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.count += 1
        if self.count > MOST:
            raise PodiumError(f"more than {MOST:,} values")
        tag = getattr(self.peek_event(), "tag", None)
        if tag not in (None, "!"):
            raise PodiumError(f"the tag {tag[:100]}: expected plain values")
        return super().compose_node(parent, index)


# «08» is text, and is written so
_Loader.add_implicit_resolver(
    f"{STANDARD}int", re.compile(r"[-+]?(?:0|[1-9][0-9]{0,29})\Z"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    f"{STANDARD}float",
    re.compile(
        r"[-+]?[0-9]{1,400}\.[0-9]{0,400}(?:[eE][-+][0-9]{1,4})?\Z|[-+]?\.[0-9]{1,400}(?:[eE][-+][0-9]{1,4})?\Z"
        r"|[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z"
    ),
    list("-+0123456789."),
)


def _check_brackets(text: str) -> None:
    """Raise PodiumError for brackets in brackets without end, over which the reader of YAML takes minutes."""
    depth = 0
    for bracket in re.findall(r"[\[\]{}]", text):
        depth += 1 if bracket in "[{" else -1
        if depth > 10 * DEEPEST:  # text may hold some too
            raise PodiumError(f"more than {DEEPEST} levels")


def _check_size(node: Any) -> None:
    """Raise PodiumError where aliases make a small file a large value, or one without end; nothing is built."""
    sizes: dict[int, int] = {}  # by node: of what it says, aliases written out
    odd = 0

    def size(node: Any, depth: int) -> int:
        nonlocal odd
        if depth > DEEPEST:
            raise PodiumError(f"more than {DEEPEST} levels")
        if id(node) in sizes:
            return sizes[id(node)]
        children = node.value if isinstance(node, yaml.CollectionNode) else []
        if isinstance(node, yaml.MappingNode):
            for key, _ in children:
                if key.tag == f"{STANDARD}merge":
                    raise PodiumError("a merge key <<: write the keys out")
                odd += key.tag != f"{STANDARD}str"
            children = [part for pair in children for part in pair]
        total = 1 + sum(size(child, depth + 1) for child in children)
        if total > MOST or odd > ODD_KEYS:
            raise PodiumError(f"more than {MOST:,} values, or more than {ODD_KEYS:,} keys that are no text")
        sizes[id(node)] = total
        return total

    size(node, 0)
