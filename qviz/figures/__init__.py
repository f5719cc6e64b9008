"""Figures: pure functions from arrays to what a picture shows.

Each returns a frozen dataclass of plain numbers that a test can look at; drawing them is the widgets'
business.
"""

from qviz._arguments import check_calls
from qviz.errors import WidgetError
from qviz.figures.awq import (
    AlphaCurve,
    ChannelTracks,
    ClipCurve,
    ErrorBars,
    alpha_curve,
    channel_tracks,
    clip_curve,
    error_bars,
    result_table,
)
from qviz.figures.balance import Balance, balance
from qviz.figures.block import BitMap, BlockLens, bit_map, block_lens
from qviz.figures.codebook import (
    LloydCurve,
    LloydPicture,
    entropy,
    huffman_bits,
    huffman_lengths,
    lloyd_curve,
    lloyd_picture,
    normal_levels,
)
from qviz.figures.conversion import NameMap, RowMap, name_map, row_map
from qviz.figures.duel import TokenDuel, token_duel
from qviz.figures.file_strip import FileStrip, file_strip
from qviz.figures.floatbits import FloatBits, float_bits
from qviz.figures.gptq import (
    CursorImage,
    GptqRun,
    LossRace,
    PullRow,
    StepRow,
    factor_image,
    gptq_run,
    hessian_image,
    loss_race,
    moved_image,
    pull_row,
    step_row,
)
from qviz.figures.hexdump import HexDump, hexdump
from qviz.figures.histogram import ErrorHistogram, Histogram, error_histogram, histogram
from qviz.figures.lens import MatrixLens, MatrixOverview, matrix_lens, matrix_overview
from qviz.figures.matrix import MatrixImage, Window, error_image, weights_image
from qviz.figures.model_map import ModelMap, model_map
from qviz.figures.numberline import NumberLine, group_axis, number_line
from qviz.figures.outliers import ChannelRanges, channel_ranges
from qviz.figures.pair_plane import PairPlane, pair_plane
from qviz.figures.photo import (
    LevelSet,
    PixelImage,
    from_afar,
    level_set,
    pixel_image,
    psnr,
    round_to_levels,
    spread_levels,
    squares,
)
from qviz.figures.ranges import (
    GroupStrip,
    RangeCurve,
    RangeHistogram,
    group_strip,
    range_curve,
    range_histogram,
)
from qviz.figures.recipe_curves import RecipeCurves, recipe_curves
from qviz.figures.roofline import Roofline, TokenRates, roofline, token_rates
from qviz.figures.rounding import rounding_table
from qviz.figures.sizes import SizeCurves, size_curves
from qviz.figures.staircase import Staircase, staircase
from qviz.figures.tables import TextTable, table
from qviz.figures.training import TrainingCurves, training_curves

__all__ = [
    "AlphaCurve",
    "Balance",
    "BitMap",
    "BlockLens",
    "ChannelRanges",
    "ChannelTracks",
    "ClipCurve",
    "CursorImage",
    "ErrorBars",
    "ErrorHistogram",
    "FileStrip",
    "FloatBits",
    "GptqRun",
    "GroupStrip",
    "HexDump",
    "Histogram",
    "LevelSet",
    "LloydCurve",
    "LloydPicture",
    "LossRace",
    "MatrixImage",
    "MatrixLens",
    "MatrixOverview",
    "ModelMap",
    "NameMap",
    "NumberLine",
    "PairPlane",
    "PixelImage",
    "PullRow",
    "RangeCurve",
    "RangeHistogram",
    "RecipeCurves",
    "Roofline",
    "RowMap",
    "SizeCurves",
    "Staircase",
    "StepRow",
    "TextTable",
    "TokenDuel",
    "TokenRates",
    "TrainingCurves",
    "Window",
    "alpha_curve",
    "balance",
    "bit_map",
    "block_lens",
    "channel_ranges",
    "channel_tracks",
    "clip_curve",
    "entropy",
    "error_bars",
    "error_histogram",
    "error_image",
    "factor_image",
    "file_strip",
    "float_bits",
    "from_afar",
    "gptq_run",
    "group_axis",
    "group_strip",
    "hessian_image",
    "hexdump",
    "histogram",
    "huffman_bits",
    "huffman_lengths",
    "level_set",
    "lloyd_curve",
    "lloyd_picture",
    "loss_race",
    "matrix_lens",
    "matrix_overview",
    "model_map",
    "moved_image",
    "name_map",
    "normal_levels",
    "number_line",
    "pair_plane",
    "pixel_image",
    "psnr",
    "pull_row",
    "range_curve",
    "range_histogram",
    "recipe_curves",
    "result_table",
    "roofline",
    "round_to_levels",
    "rounding_table",
    "row_map",
    "size_curves",
    "spread_levels",
    "squares",
    "staircase",
    "step_row",
    "table",
    "token_duel",
    "token_rates",
    "training_curves",
    "weights_image",
]

check_calls(globals(), __all__, WidgetError)
