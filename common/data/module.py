"""ImageData: from a competition's records to batches, the same way for every competition."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor
from torch.utils.data import DataLoader

from common.activity import Activity, counted
from common.build import build
from common.config.schema import at_least, one_of
from common.data.augmentation.views import make_views
from common.data.edits.copies import Copies, placed
from common.data.edits.corrections import apply_corrections, read_corrections
from common.data.edits.kept_list import repeats
from common.data.edits.unlabelled import taught_records
from common.data.files import overview
from common.data.pixels.arrays import Packed, Pixels, Refitted, Unread
from common.data.pixels.dataset import Images, whole
from common.data.pixels.features import Features
from common.data.pixels.pack import file_keys
from common.data.pixels.store import Store
from common.data.reading.images import MAX_PIXELS, Image, ImageError, fit_to, max_pixels, read
from common.data.records import bad_table
from common.data.sampler import SAMPLING, EpochBatches
from common.data.split.duplicate_list import pair_list, write_near_duplicates
from common.data.split.duplicates import find_near_duplicates, joined
from common.data.split.folds import PARTS, divide
from common.data.split.stored_split import StoredSplit
from common.data.spreadsheet import to_csv
from common.errors import PodiumError
from common.text import printable

HELD_OUT = ("valid", "choose", "score")
PIECE = 1 << 25  # numbers of images and of probabilities that are computed together, 134 MB each as float32


class ImageData(pl.LightningDataModule):
    """Reads records, decodes every image once (into memory or a pack), splits by group, serves batches.

    A competition says where its images are (`records`), what is to be predicted (`test_records`) and how to draw
    sample data (`write_sample`).

    Batches reach the model as `image` float32 (B, C, H, W) in [0, 1], `label`, `index`, `key` int64 (B,).

    Args:
        root: the data set's folder.
        size: [height, width] in pixels that the model sees.
        channels: 1 (grey) or 3 (RGB).
        fit: how an image is brought to `size`: stretch, pad (whole image, centred on `pad_value`) or crop (centre).
        pad_value: 0..255.
        interpolation: area, bilinear or bicubic.
        picture: part that makes another picture of one as it was read, before `fit`: uint8 (H, W, C) → uint8.
        batch_size: images a training batch and device.
        sampling: how often a class is drawn: natural (each image once an epoch), sqrt (in proportion to the square root
            of its number of images) or balanced (all alike). An epoch keeps its length.
        workers: loader processes; 0 loads in the training process, which is fastest while views run on the batch.
        valid: share of each class held out to validate a stage without folds, in (0, 1).
        choose: share that no stage trains on, to choose the members of a blend by, in [0, 1).
        score: share that no stage trains on and nothing is chosen by, to be reported, in [0, 1).
        near_duplicates: keep near-duplicates on one side of every split (found by comparing pictures: resized,
            compressed, brighter or darker ones, and crops), and list them in `near_duplicates.csv`.
        turned_duplicates: whether mirrored pictures, and those turned by 90, 180 or 270 degrees, are such too: not
            where that makes another class, as with characters (乒 and 乓).
        split: a stored `folds.csv` (columns id, part and, for folds, fold) to use instead of a new one.
        unlabelled: folder of pictures without labels, for stages with soft_labels_from: their teachers label them.
        certainty: probability of the teachers' mean from which such a picture is trained on, in [0, 1].
        copies: part that balances the classes by changed copies on disk, trained on only: common/data/edits/copies.py.
        corrections: CSV (columns id, class) of labels to replace in training; see common/data/edits/corrections.py.
        correct_held_out: whether they also replace labels of what validates, chooses and scores; else these keep the
            labels that they came with, so that what is measured stays the same.
        max_pixels: a picture of more, ≥ 1, is one that cannot be read: 180 million take 540 MB. Predict, evaluate and
            export take it from the run or the file.
        max_bad_share: the run stops when more than this share of the images cannot be read, in [0, 1].
        in_memory_bytes: more than that of fitted pixels, ≥ 0, are packed in a file and mapped, not kept in memory.
            Fewer are read from a pack where it has them all. Image views need pictures as they are: these are never
            packed, and more of them are read anew in every epoch, large JPEGs at a reduced scale.
        seed: of the split, the order and the views.
        views: `{"image": [...], "batch": {...}}`, see common/data/augmentation/views.py.
        folder: where `folds.csv` and `bad_images.csv` are kept.
        folds: number of folds that the run's training images are divided into, ≥ 2; None for no folds.
        fold: the one that is validated; None: the part «valid» is.
        taught: what the teachers said of the unlabelled pictures.
        cleaned: list of the training images that are kept; see common/data/edits/kept_list.py. None: all are.
        packs: folder where packs are kept; None: nothing is packed.
        copies_folder: folder where copies are kept; None: in `folder`.
        sample: whether `root` holds generated sample data.
    """

    allow_absent_classes = False  # whether a class may have no image at all

    def __init__(
        self,
        *,
        root: str,
        size: list[int],
        folder: str,
        seed: int,
        views: dict[str, Any],
        channels: int = 3,
        fit: str = "stretch",
        pad_value: int = 0,
        interpolation: str = "area",
        picture: dict[str, Any] | None = None,
        batch_size: int = 64,
        sampling: str = "natural",
        workers: int = 0,
        valid: float = 0.1,
        choose: float = 0.0,
        score: float = 0.0,
        near_duplicates: bool = False,
        turned_duplicates: bool = False,
        split: str | None = None,
        copies: dict[str, Any] | None = None,
        corrections: str | None = None,
        correct_held_out: bool = False,
        unlabelled: str | None = None,
        certainty: float = 0.9,
        folds: int | None = None,
        fold: int | None = None,
        taught: str | None = None,
        cleaned: str | None = None,
        max_pixels: int = MAX_PIXELS,
        max_bad_share: float = 0.05,
        in_memory_bytes: int = 2**30,
        packs: str | None = None,
        copies_folder: str | None = None,
        sample: bool = False,
    ) -> None:
        super().__init__()
        if channels not in (1, 3):
            raise PodiumError(f"data.channels must be 1 (grey) or 3 (RGB), got {channels}")
        if len(size) != 2 or min(size) < 1:
            raise PodiumError(f"data.size must be [height, width] in pixels, got {size}")
        if batch_size < 1:
            raise PodiumError(f"data.batch_size must be at least 1, got {batch_size}")
        if workers < 0:
            raise PodiumError(f"data.workers must be at least 0, got {workers}")
        at_least("data.max_pixels", max_pixels, 1)
        one_of("data.sampling", sampling, tuple(SAMPLING))
        if not (0 < valid < 1 or (valid == 0 and folds)):
            raise PodiumError(f"data.valid must be in (0, 1), got {valid}")
        for name, share in (("choose", choose), ("score", score)):
            if not 0 <= share < 1:
                raise PodiumError(f"data.{name} must be in [0, 1), got {share}")
        if not 0 <= certainty <= 1:
            raise PodiumError(f"data.certainty must be in [0, 1], got {certainty}")
        if in_memory_bytes < 0:
            raise PodiumError(f"data.in_memory_bytes must be at least 0, got {in_memory_bytes}")
        if valid + choose + score >= 1:
            raise PodiumError("data.valid, data.choose and data.score leave nothing to train on")
        self.root = Path(root)
        self.folder = Path(folder)
        self.seed = seed
        self.batch_size = batch_size
        self.sampling = sampling
        self.workers = workers
        self.shares = {"valid": valid, "choose": choose, "score": score}
        self.folds = folds
        self.fold = fold
        self.near_duplicates = near_duplicates
        self.turned_duplicates = turned_duplicates
        self.stored_split = Path(split) if split else None
        self.copies: Copies | None = build(copies, "copies") if copies else None
        self.copies_folder = Path(copies_folder) if copies_folder else self.folder / "copies"
        self.corrections = Path(corrections) if corrections else None
        self.correct_held_out = correct_held_out
        self.held_out_corrected: int | None = None  # labels that were changed so
        self.unlabelled = Path(unlabelled) if unlabelled else None
        self.certainty = certainty
        self.taught = Path(taught) if taught else None
        self.cleaned = Path(cleaned) if cleaned else None
        self.max_bad_share = max_bad_share
        self.sample = sample
        self.preprocessing: dict[str, Any] = {
            "size": list(size),
            "channels": channels,
            "fit": fit,
            "pad_value": pad_value,
            "interpolation": interpolation,
            **({"picture": picture} if picture else {}),
            **({"max_pixels": max_pixels} if max_pixels != MAX_PIXELS else {}),
        }
        self.known_files = (
            Path(packs).parent / "files.sqlite" if packs else None
        )  # see common/data/files/digests.py
        self.image_view, self.batch_view = make_views(views)
        self.store = Store(
            self.preprocessing,
            self.image_view is not None,
            Path(packs) if packs else None,
            in_memory_bytes,
            self.pictures,
            self.picture_keys,
        )
        # What stands for the images while a frozen backbone trains its head.
        self.features: Features | None = None
        self.table: pd.DataFrame | None = None
        self.class_names: list[str] = []
        # Coarser level of a class tree → parent of each class, fine to coarse.
        self.levels: dict[str, list[int]] = {}

    # What a competition fills in ---------------------------------------------------------------------------

    def records(self) -> tuple[pd.DataFrame, list[str]]:
        """The labelled images (see common/data/records.py) and the class names, index = label.

        Columns `part` and `fold` are used as the split where the data set brings them, `part` null where it does not
        say; shares are then taken of these. Rows whose bool column
        `train_only` is true are trained on and never validated: pictures made from others, in the same group.
        """
        raise NotImplementedError(f"{type(self).__name__}.records")

    def test_records(self) -> pd.DataFrame:
        """The images to be predicted for a submission, in its order; labels are -1."""
        raise PodiumError(f"{self.root} has no test part: name the images by INPUT=<folder or image>")

    @classmethod
    def write_sample(cls, root: Path, seed: int = 0) -> None:
        """Draw the sample data set that training uses when `data.root` is not set."""
        raise PodiumError(
            "data.root is not set: name the folder of your images, e.g. make train COMP=… DATA=<folder>"
        )

    def prepare(self) -> Path:
        """Write what training reads instead of the raw data set, once; returns where. Nothing by default."""
        return self.root

    def pictures(
        self, table: pd.DataFrame, at_least: tuple[int, int] | None = None
    ) -> Callable[[int], Image]:
        """What reads the picture of a row of `table` as it is, uint8 (H, W, channels): by default the file `path`.

        at_least: (H, W) that will be needed of it; see common/data/reading/images.py. The function is called in
        threads, and raises ImageError for a picture that cannot be read.
        """
        paths = table["path"].tolist()
        channels, most = self.preprocessing["channels"], max_pixels(self.preprocessing)
        return lambda row: read(paths[row], channels, at_least, most)

    def picture_keys(self, table: pd.DataFrame) -> np.ndarray:
        """Bytes (N,) that are others once a picture may be another; see common/data/pixels/pack.py."""
        return file_keys(table["path"].tolist(), known=self.known_files)

    # What follows from it -----------------------------------------------------------------------------------

    def setup(self, stage: str | None = None) -> None:
        """Read, check, decode and split, once."""
        if self.table is not None:
            return
        with Activity("looking for pictures"):
            table, self.class_names = self.records()
        given = trained = table.set_index("id")["label"]
        if self.corrections is not None:
            corrected = apply_corrections(table, self.class_names, self.corrections)
            trained = corrected.set_index("id")["label"]
            table = corrected if self.correct_held_out else table
        if "train_only" not in table:
            table["train_only"] = False
        if self.copies is not None:
            table = self._with_copies(table)
        if self.unlabelled is not None and self.taught is not None:
            more = taught_records(self.unlabelled, self.taught, self.certainty)
            more = more.reindex(columns=table.columns, fill_value="")  # columns of the competition's own
            if "part" in table:
                more["part"] = None  # the data set does not say
            table = pd.concat([table, more], ignore_index=True).astype({"train_only": bool, "label": "int64"})
        self.pixels, rows, bad = self.store.take(table)
        if "copy_of" in table:
            lost = ~table["copy_of"].isin({"", *table["id"].iloc[rows]})
            if lost.any():  # copies of pictures that can be read no more: they have no place in the split
                table = table[~lost].reset_index(drop=True)
                self.pixels, rows, bad = self.store.take(table)
        self._report_bad(bad, len(table))
        table = table.iloc[rows].reset_index(drop=True)
        stored = StoredSplit.read(self._saved, self.stored_split)
        table = self._divided(table, stored)
        self._report_straddling(table)
        self._check_classes(table)
        if stored.own is None:
            self._say_what_it_is(table)
        self.table = table
        # kept, since the learning rate of every step asks how long an epoch is
        self._rows = {part: np.flatnonzero(member) for part, member in self._members(table).items()}
        labels = self._trained_labels(table, given, trained)
        if self.correct_held_out and self.corrections is not None:
            held_out = (table["part"].isin(HELD_OUT) | (table["fold"] >= 0)) & ~table["train_only"]
            changed = table["label"] != table["id"].map(given).fillna(table["label"])
            self.held_out_corrected = int((held_out & changed).sum())
        if self.cleaned is not None:
            self._clean(table, self.cleaned)
        self._save_split(stored)
        fits = None if self.image_view is None else partial(fit_to, preprocessing=self.preprocessing)
        self.train_images = Images(self.pixels, labels, fits, self.image_view, self.seed)
        seen: Pixels | Packed | Unread | Refitted = self.pixels
        if fits is not None:  # reduced before they were decoded, or not, otherwise than training's
            held_out = np.concatenate([self._rows[part] for part in HELD_OUT])
            seen = self.store.as_predicted(table, np.unique(held_out))
        self.valid_images = Images(seen, labels, None, None, self.seed)

    def _divided(self, table: pd.DataFrame, stored: StoredSplit) -> pd.DataFrame:
        """The table with part and fold of each record; copies go where their originals do."""
        is_copy = (table["copy_of"] != "").to_numpy() if "copy_of" in table else np.zeros(len(table), bool)
        rows = np.flatnonzero(~is_copy)
        whole = table.iloc[rows].reset_index(drop=True)
        known = stored.places(whole)
        if self.near_duplicates:
            groups = stored.groups(whole["id"])
            whole["group"] = self._near_duplicates(whole, rows) if groups is None else groups
        whole[["part", "fold"]] = divide(whole, self.shares, self.folds, self.seed, known)
        if not is_copy.any():
            return whole
        copies = placed(table[is_copy], whole)
        return pd.concat([whole.set_axis(rows), copies.set_axis(np.flatnonzero(is_copy))]).sort_index()

    def _with_copies(self, table: pd.DataFrame) -> pd.DataFrame:
        """The table and, after it, copies that balance it, made on disk where they are missing."""
        assert self.copies is not None
        whole = table[~table["train_only"]].reset_index(drop=True)
        made = self.copies.make(
            whole,
            self.picture_keys(whole),
            self.pictures(whole),
            self.copies_folder,
            self.seed,
            self.preprocessing["channels"],
        )
        return pd.concat([table.assign(copy_of=""), made], ignore_index=True)

    def pack(self) -> Path:
        """Decode all labelled images into a pack, or check every pixel of the pack that has them; returns where.

        Raises PodiumError where image views are configured, and as `setup` does where too many cannot be read.
        """
        if self.image_view is not None:  # before copies are made for nothing
            raise PodiumError(
                "views.image needs the pictures as they are, which are not packed: use views.batch, or train without"
            )
        table, _ = self.records()
        if self.copies is not None:
            table = self._with_copies(table.assign(train_only=table.get("train_only", False)))
        folder, bad = self.store.pack(table)
        self._report_bad(bad, len(table))
        return folder

    def rows(self, part: str) -> np.ndarray:
        """Rows of the table that belong to `part` (train, valid, choose or score), int64, ascending.

        Of train, rows that cleaning repeats stand several times.
        """
        return self._rows[part]

    @property
    def class_counts(self) -> np.ndarray:
        """Training images of each class, int64 (K,)."""
        return np.bincount(self.train_images.labels[self.rows("train")], minlength=len(self.class_names))

    def _trained_labels(self, table: pd.DataFrame, given: pd.Series, trained: pd.Series) -> np.ndarray:
        """Labels, int64 (N,): the table's, but of what this job trains on those of `trained`.

        given, trained: labels by id, as they came and corrected; what the latter lacks is not trained on.
        """
        labels, ids = table["label"].to_numpy().copy(), table["id"]
        if "copy_of" in table:  # a copy is what its original is
            ids = table["copy_of"].where(table["copy_of"] != "", ids)
        left_out = ids.isin(given.index.difference(trained.index)).to_numpy()
        self._rows["train"] = rows = self._rows["train"][~left_out[self._rows["train"]]]
        labels[rows] = ids.map(trained).fillna(table["label"]).to_numpy(np.int64)[rows]
        return labels

    def _clean(self, table: pd.DataFrame, path: Path) -> None:
        """Leave out of training what a list does not keep; all other parts stay as they are."""
        rows = self._rows["train"]
        times = pd.Series(repeats(table, self.class_names, path), index=table["id"])
        if self.corrections is not None:  # models do not overrule a person
            found = read_corrections(self.corrections)
            by_hand = times.index.isin(found["id"][found["class"] != ""])
            times = times.mask(by_hand, times.clip(lower=1))
        if "copy_of" in table:
            copies = table[table["copy_of"] != ""]
            times[copies["id"]] = (times[copies["copy_of"]] > 0).to_numpy(np.int64)
        self._rows["train"] = np.repeat(rows, times.to_numpy()[rows])
        if not len(self._rows["train"]):
            raise PodiumError(f"{path} leaves no image to train on")

    def _members(self, table: pd.DataFrame) -> dict[str, np.ndarray]:
        """part → bool (N,): whether this job uses the row so."""
        part, whole = table["part"], ~table["train_only"]
        found = {name: (part == name) & whole for name in PARTS}
        found["train"] = part == "train"
        if self.fold is not None:
            mine = table["fold"] == self.fold
            made_from_mine = (mine & whole).groupby(table["group"]).transform("any") & ~whole
            found |= {
                "train": (part == "train") & ~mine & ~made_from_mine,
                "valid": (part == "train") & mine & whole,
            }
        return {name: member.to_numpy() for name, member in found.items()}

    @property
    def in_folds(self) -> int:
        """Images that the folds validate, each once, if all of them are trained."""
        assert self.table is not None
        return int(((self.table["fold"] >= 0) & ~self.table["train_only"]).sum())

    def train_dataloader(self) -> DataLoader:
        """Endlessly resumable: each pass starts where the trainer's counters say."""
        rows = self.rows("train")
        rank = self.trainer.global_rank if self.trainer else 0
        drawn = None if self.sampling == "natural" else self.train_images.labels[rows]
        batches = EpochBatches(
            rows, self.batch_size, self.seed, self._position, rank, self._world_size,
            labels=drawn, power=SAMPLING[self.sampling],
        )  # fmt: skip
        return self._loader(self.train_images if self.features is None else self.features, batches)

    def val_dataloader(self) -> DataLoader:
        """Every validation image exactly once, in order; ranks take turns."""
        rows = self.rows("valid")
        most = -(-len(rows) // self._world_size)  # that a rank has
        if self.trainer is not None:
            rows = rows[self.trainer.global_rank :: self.trainer.world_size]
        return self.in_order(rows, self.features, most)

    def in_order(
        self, rows: np.ndarray, features: Features | None = None, most: int | None = None
    ) -> DataLoader:
        """These rows as they are, without views: the images, or the features that stand for them.

        most: rows that another rank has; the batches are as many as that one's, with nothing in them where rows end.
        """
        size = self.together()
        batches = [
            [(0, int(row)) for row in rows[start : start + size]]
            for start in range(0, len(rows) if most is None else most, size)
        ]
        return self._loader(self.valid_images if features is None else features, batches)

    def together(self) -> int:
        """Images that are looked at together where no gradients are kept: twice a batch, or fewer if these are large.

        Batches of a stage that trains on features are larger than what its backbone can look at; with very many classes
        probabilities take the memory.
        """
        pixels_each = int(np.prod(self.preprocessing["size"])) * self.preprocessing["channels"]
        return max(1, min(2 * self.batch_size, PIECE // max(pixels_each, len(self.class_names))))

    def on_after_batch_transfer(self, batch: dict[str, Tensor], dataloader_idx: int) -> dict[str, Tensor]:
        """On the device: uint8 → float32 in [0, 1], and the batch views while training. Features stay as they are."""
        if self.features is not None:
            return batch
        images = batch["image"].to(torch.float32).div_(255)
        if self.trainer is not None and self.trainer.training:
            images = self.batch_view(images, batch["key"])
        return {**batch, "image": images}

    @property
    def batches_per_epoch(self) -> int:
        """Training batches that one epoch takes, the trainer's limit included."""
        length = max(1, len(self.rows("train")) // (self.batch_size * self._world_size))
        limit = self.trainer.limit_train_batches if self.trainer else 1.0
        return min(length, limit) if isinstance(limit, int) else int(length * limit)

    @property
    def _world_size(self) -> int:
        return self.trainer.world_size if self.trainer else 1

    def _position(self) -> tuple[int, int]:
        """(epoch, batches done in it) by the trainer's counters; a full epoch counts as the start of the next."""
        if self.trainer is None:
            return 0, 0
        loop: Any = self.trainer.fit_loop
        epoch = max(0, loop.epoch_progress.current.ready - 1)
        done = loop.epoch_loop.batch_progress.current.processed
        return (epoch + 1, 0) if done >= self.batches_per_epoch else (epoch, done)

    def _loader(self, images: Images | Features, batches: Any) -> DataLoader:
        workers = 0 if isinstance(images, Features) else self.workers  # features are only read
        return DataLoader(
            images,
            batch_sampler=batches,
            num_workers=workers,
            collate_fn=whole,  # type: ignore[arg-type]
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    @property
    def _saved(self) -> Path:
        return self.folder / "folds.csv"

    def _near_duplicates(self, table: pd.DataFrame, rows: np.ndarray) -> pd.Series:
        """Groups by comparing pictures, `rows` of the pixels, joined with those of the table."""
        each = (self.pixels[row] for row in rows)
        with Activity("looking for near-duplicates"):
            pictures = counted(each, "comparing pictures", len(rows))
            found, pairs = find_near_duplicates(pictures, turned=self.turned_duplicates)
        self._report_near_duplicates(pairs, found, table)
        groups = pd.Series(joined(found, table["group"].tolist()))
        # named by a picture: stages with other pictures number their groups otherwise
        return "duplicates-" + table["id"].groupby(groups).transform("first")

    def _check_classes(self, table: pd.DataFrame) -> None:
        members = self._members(table)
        for part in ("train", "valid"):
            if not members[part].any() and (part == "train" or self.fold is not None or self.shares["valid"]):
                raise PodiumError(
                    f"{self.root}: no image is left in the {part} part ({len(table)} images, "
                    + (f"data.valid={self.shares['valid']})" if self.fold is None else f"fold {self.fold})")
                    + (
                        "; the split that is given has none there"
                        if self.stored_split is not None
                        else ": add pictures, some of each class, or raise data.valid"
                        + "; data.near_duplicates=false parts those in near_duplicates.csv"
                        * self.near_duplicates
                    )
                )
        present = set(
            table.loc[table["part"] == "train", "label"]
        )  # of all folds: a small class may miss one
        missing = [name for label, name in enumerate(self.class_names) if label not in present]
        if missing and self.allow_absent_classes:
            print(f"classes without a picture: {', '.join(map(printable, missing))}")
        elif missing:
            raise PodiumError(
                f"{self.root}: {len(missing)} classes have no readable training image, the first is "
                f"«{printable(missing[0])}»: "
                "add pictures of them, or take them off the list of classes"
            )

    @rank_zero_only
    def _say_what_it_is(self, table: pd.DataFrame) -> None:
        for line in overview.classes(table, self.class_names):
            print(line, flush=True)
        with Activity("looking for equal pictures"):
            said = overview.list_equal(
                table, self.class_names, self.folder / "equal_pictures.csv", self.known_files
            )
        if said is not None:
            print(said, flush=True)

    @rank_zero_only
    def _report_bad(self, bad: list[ImageError], total: int) -> None:
        if not bad:
            return
        path = self.folder / "bad_images.csv"
        to_csv(bad_table(bad), path, str(os.getpid()))  # jobs side by side write it at a time
        message = f"{len(bad)} of {total} images could not be read; they are listed with reasons in {path}"
        if len(bad) > self.max_bad_share * total:
            raise PodiumError(
                f"{message}\nThat is more than data.max_bad_share={self.max_bad_share}: mend or remove them, "
                f"or raise the share. The first: {bad[0]}"
            )
        print(f"left out: {message}")

    @rank_zero_only
    def _report_near_duplicates(self, pairs: pd.DataFrame, groups: list[int], table: pd.DataFrame) -> None:
        if len(pairs):
            classes = [self.class_names[label] for label in table["label"]]
            rows = pair_list(pairs, groups, table["id"].tolist(), classes)
            print(write_near_duplicates(rows, self.folder / "near_duplicates.csv"))

    @rank_zero_only
    def _report_straddling(self, table: pd.DataFrame) -> None:
        """A split that the user or the data set brings may part near-duplicates; it is taken, and this is said.

        Pictures that are only trained on give way by themselves: see `divide` and `_members`.
        """
        placed = table.loc[~table["train_only"], ["group", "part", "fold"]].drop_duplicates()
        parted = placed["group"].value_counts() > 1
        if parted.any():
            print(f"{parted.sum()} groups of near-duplicates stand on both sides of the split that is given")

    @rank_zero_only
    def _save_split(self, stored: StoredSplit) -> None:
        assert self.table is not None
        classes = [self.class_names[label] for label in self.table["label"]]
        stored.save(self.table.assign(**{"class": classes}), self._saved)
