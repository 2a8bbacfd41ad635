"""Makes `import open_clip` work in every test module, wherever it stands among the imports."""

from anomalyclip.features import torchvision_remedy  # noqa: F401
