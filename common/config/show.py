"""A configuration for reading: what was chosen, then every key. The whole is YAML that can be used again."""

from typing import Any

from omegaconf import DictConfig, OmegaConf


def plan(config: DictConfig) -> str:
    """Competition, experiments, and each component's option and target as comments; then the resolved YAML."""
    values: Any = OmegaConf.to_container(config, resolve=True)
    rows = [
        ("competition", values["competition"], ""),
        ("experiment", ", ".join(values["experiment"]) or "none", ""),
    ]
    for component in ("data", "module"):
        rows.append((component, "", values[component]["_target_"]))
    for group, option in values["choices"].items():
        rows.append((group, option, values[group].get("_target_", "")))
    for place, components in (("callbacks", values["callbacks"]), ("logger", values["logger"])):
        rows.append(
            (
                place,
                ", ".join(name for name, component in components.items() if component is not None) or "none",
                "",
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    head = "".join(
        f"# {name:{widths[0]}}  {option:{widths[1]}}  {target}".rstrip() + "\n"
        for name, option, target in rows
    )
    return f"{head}\n{OmegaConf.to_yaml(config)}"
