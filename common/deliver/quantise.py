"""Eight bits instead of 32: static quantisation of an exported file by ONNX Runtime.

Weights have seven bits, since products of eight saturate on processors without VNNI, and a scale for each output
channel; activations are uint8, with scales from the ranges that calibration pictures give (Jacob et al. 2018,
https://arxiv.org/abs/1712.05877). What precedes the first and follows the last layer with weights, normalisation and
softmax, stays in 32 bits.

ReLU6 is quantised with the layer before it (Clip): else that layer's levels would be spent on what it cuts off.
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

LAYERS = ["Conv", "Clip", "Gemm", "MatMul", "Add", "Relu", "MaxPool", "AveragePool", "GlobalAveragePool"]


def quantise(source: Path, target: Path, images: np.ndarray, batch_size: int = 16) -> None:
    """Write the int8 form of the ONNX file `source`, with its metadata.

    images: uint8 (N, H, W, C), fitted, such as the model was trained on.
    """
    with TemporaryDirectory(prefix="podium-") as folder:
        simple = Path(folder) / "simple.onnx"
        # folds normalisation layers into convolutions; shapes are there already
        quant_pre_process(source, simple, skip_symbolic_shape=True)
        quantize_static(
            simple,
            target,
            _Calibration(images, batch_size),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=LAYERS,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    model = onnx.load(target)
    own = {prop.key for prop in model.metadata_props}
    kept = onnx.load(source, load_external_data=False).metadata_props
    model.metadata_props.extend(prop for prop in kept if prop.key not in own)
    onnx.save(model, target)


class _Calibration(CalibrationDataReader):
    def __init__(self, images: np.ndarray, batch_size: int) -> None:
        self.batches: Iterator[np.ndarray] = (
            images[start : start + batch_size] for start in range(0, len(images), batch_size)
        )

    def get_next(self) -> Any:
        batch = next(self.batches, None)
        return None if batch is None else {"image": batch}
