"""Basler cameras as photodetectors: each channel is a region of the picture.

Source: pypylon 26.9 and Basler's product documentation (SFNC names of features); tried on Basler's own camera emulation
(``PYLON_CAMEMU=1``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from pydantic import Field

from hilonn.devices import ChannelSpec, DetectorReadings, Device, Identity, Photodetectors, Timing
from hilonn.drivers.libraries import library
from hilonn.drivers.options import Options
from hilonn.drivers.page import DriverPage
from hilonn.errors import ConfigError, ConnectionLost, DeviceError, DeviceTimeout, HilonnError
from hilonn.registry import Driver
from hilonn.typing import FloatArray

PAGE = DriverPage(
    instruments="Basler cameras, USB3 and GigE (extra `camera`; pypylon brings the library)",
    wiring=(
        'USB 3 or GigE. For patterns the modulators\' sample output goes to a trigger input (`trigger = "Line1"`), one picture a '
        "sample; without a trigger a picture is taken when it is fetched, one sample a play. Full scales follow from "
        "`exposures`: the longest exposure is the smallest range."
    ),
    connection="",
    device=(
        'driver = "camera"\nserial = "21876543"\nregions = [[100, 200, 12, 12], [140, 200, 12, 12]]\n'
        'exposures = [1e-4, 1e-3, 1e-2]\npixel_format = "Mono12"\ntrigger = "Line1"\nunit = "W"\nfactor = 3.1e-16'
    ),
    quirks=(
        (
            "Automatic exposure and gain, and gamma, are switched off when it is opened: they change what a count means.",
            "Basler product documentation",
        ),
        (
            "A picture that was lost on the way is an error of its own and not the next sample: failed, skipped and missing "
            "pictures are told.",
            "pypylon, GrabResult",
        ),
        (
            "Exposure is `ExposureTime` (us) on newer cameras, `ExposureTimeAbs` on older ones.",
            "SFNC 2",
        ),
        (
            "A region is saturated as soon as one of its pixels is at full scale.",
            "averages hide it",
        ),
    ),
    unverified=(
        "Tried on the emulation alone, whose pictures do not follow the exposure and which has no trigger line.",
        "Pixels of Mono10 and Mono12 are right-aligned in 16 bits, full scale 1023 and 4095.",
        "The exposure that a camera rounds to is read back and used; a change takes effect with the next picture.",
    ),
)
FULL = {"Mono8": 255, "Mono10": 1023, "Mono12": 4095, "Mono16": 65535}
MICROSECOND = 1e-6
Region = tuple[int, int, int, int]


class CameraOptions(Options):
    """``regions``: (x, y, width, height) in pixels, one a channel. ``exposures`` in s, any order. A reading is the mean count of a
    region's pixels, per second of exposure, times ``factor``, in ``unit``. ``serial`` of the camera; None: the only one. ``trigger``:
    the input on which each picture is taken; None: none. ``max_samples`` with averages, where there is a trigger. ``gain`` in
    the camera's unit (dB on most); None: as it is. ``timeout`` in s, beyond what the exposures last."""

    regions: list[Region] = Field(min_length=1)
    exposures: list[float] = Field(min_length=1)
    serial: str | None = None
    pixel_format: str = Field(default="Mono12", pattern="^Mono(8|10|12|16)$")
    trigger: str | None = None
    max_samples: int = Field(default=1024, ge=1)
    gain: float | None = None
    unit: str = "counts/s"
    factor: float = Field(default=1.0, gt=0)
    timeout: float = Field(default=2.0, gt=0)


class Camera(Photodetectors):
    """Means over regions of pictures; one picture a sample."""

    def __init__(self, name: str, options: CameraOptions) -> None:
        exposures = sorted(options.exposures, reverse=True)
        if exposures[-1] <= 0 or len(set(exposures)) != len(exposures):
            raise ConfigError(f"{name}: exposures = {options.exposures}: positive, each another")
        self._full = FULL[options.pixel_format]
        ranges = tuple(options.factor * self._full / e for e in exposures)
        spec = ChannelSpec(unit=options.unit, low=0.0, high=ranges[-1])
        most = 1 if options.trigger is None else options.max_samples
        readings = None if options.trigger is None else options.max_samples
        super().__init__(name, len(options.regions), spec, ranges, most, readings)
        self._options = options
        self._exposures = exposures
        self._exposure = exposures[-1]
        self._pylon = library("pypylon.pylon", "camera")
        self._genicam = library("pypylon.genicam", "camera")
        self._camera: Any = None
        self._broken = False
        self._run = (1, 1, 1, 0.0)

    def identity(self) -> Identity:
        self._renew()
        with self._named("who it is"):
            info = self._camera.GetDeviceInfo()
            version = info.GetDeviceVersion() if info.IsDeviceVersionAvailable() else ""
            return Identity(
                info.GetVendorName(), info.GetModelName(), info.GetSerialNumber(), version
            )

    def _open(self) -> None:
        """Find it, switch off what would change counts by itself, and set the shortest exposure."""
        with self._named("open"):
            self._camera = self._pylon.InstantCamera(self._found())
            self._camera.Open()
            self._broken = False
            for name, value in (
                ("ExposureAuto", "Off"),
                ("GainAuto", "Off"),
                ("GammaEnable", False),
                ("PixelFormat", self._options.pixel_format),
            ):
                self._set(name, value)
            if self._options.gain is not None:
                self._set("Gain", self._options.gain)
            self._trigger()
            width, height = int(self._camera.Width.Value), int(self._camera.Height.Value)
        for k, (x, y, w, h) in enumerate(self._options.regions):
            if w < 1 or h < 1 or x < 0 or y < 0 or x + w > width or y + h > height:
                raise ConfigError(
                    f"{self.name}: region {k} is {w} x {h} pixels at {x}, {y}; the picture has {width} x {height}"
                )
        self.range = len(self.ranges) - 1
        self._set_range(self.range)

    def _close(self) -> None:
        camera, self._camera = self._camera, None
        if camera is not None:
            with self._named("close"):
                camera.Close()

    def _set_range(self, index: int) -> None:
        """The exposure of a range; what the camera rounds it to counts. DeviceError where it is off by 1 %."""
        asked = self._exposures[index]
        with self._named("set an exposure"):
            nodes = [self._node(name) for name in ("ExposureTime", "ExposureTimeAbs")]
            node = next((n for n in nodes if n is not None), None)
            if node is None:
                raise DeviceError(f"{self.name}: it has neither ExposureTime nor ExposureTimeAbs")
            node.Value = asked / MICROSECOND
            found = float(node.Value) * MICROSECOND
        if not abs(found - asked) <= 0.01 * asked:
            raise DeviceError(
                f"{self.name}: an exposure of {asked:g} s is asked for, the camera makes it {found:g} s"
            )
        self._exposure = found

    def most_samples(self, averages: int, timing: Timing) -> int:
        """``max_samples`` counts every picture."""
        return super().most_samples(averages * timing.samples_per_reading, timing)

    def _arm(self, samples: int, averages: int, timing: Timing) -> None:
        each = timing.samples_per_reading
        count = samples * averages * each
        if self._options.trigger is not None and count > self._options.max_samples:
            raise ConfigError(
                f"{self.name}.arm: {samples} samples x {averages} averages x {each} readings are {count} pictures, "
                f"max_samples is {self._options.max_samples}"
            )
        if self._options.trigger is not None and timing.sample_period < self._exposure:
            raise DeviceError(
                f"{self.name}: pictures every {timing.sample_period:g} s are asked for, one is exposed {self._exposure:g} s"
            )
        wanted = self.range
        self._renew()
        if wanted != self.range:
            self._set_range(wanted)
            self.range = wanted
        self._run = (samples, averages, each, count * max(timing.sample_period, self._exposure))
        if self._options.trigger is not None:
            with self._named("arm"):
                self._start(count)

    def _fetch(self) -> DetectorReadings:
        """Means over a region's pixels, plays and readings of a sample."""
        samples, averages, each, lasts = self._run
        count = samples * averages * each
        with self._named("fetch"):
            try:
                if self._options.trigger is None:
                    self._start(
                        count
                    )  # pictures that began before the play show what was before it
                pictures = [self._picture(k, count, lasts) for k in range(count)]
            finally:
                self._camera.StopGrabbing()
        means = np.array([p[0] for p in pictures]).reshape(averages, samples, each, self.channels)
        full = np.array([p[1] for p in pictures]).reshape(averages, samples, each, self.channels)
        scale = self._options.factor / self._exposure
        return DetectorReadings(scale * means.mean(axis=(0, 2)), np.asarray(full.any(axis=(0, 2))))

    def _safe_state(self) -> None:
        return None  # a camera drives nothing

    # -- pictures -----------------------------------------------------------------------------------

    def _start(self, count: int) -> None:
        self._camera.StopGrabbing()
        self._camera.MaxNumBuffer.Value = max(count, 1)
        self._camera.StartGrabbingMax(count)

    def _picture(self, k: int, count: int, lasts: float) -> tuple[FloatArray, np.ndarray]:
        """Mean counts of the regions, and whether a pixel of each is at full scale."""
        patience = round(1e3 * (self._options.timeout + lasts))
        result = self._camera.RetrieveResult(patience, self._pylon.TimeoutHandling_Return)
        if not result.IsValid():
            raise DeviceTimeout(
                f"{self.name}: picture {k} of {count} did not come within {patience} ms"
            )
        try:
            if not result.GrabSucceeded():
                raise DeviceError(
                    f"{self.name}: picture {k} of {count} failed: {result.ErrorDescription} ({result.ErrorCode})"
                )
            if result.GetNumberOfSkippedImages():
                raise DeviceError(f"{self.name}: pictures before number {k} were skipped")
            array = result.Array
        finally:
            result.Release()
        cuts = [array[y : y + h, x : x + w] for x, y, w, h in self._options.regions]
        means = np.array([float(cut.mean()) for cut in cuts])
        return means, np.array([bool((cut >= self._full).any()) for cut in cuts])

    # -- the camera -----------------------------------------------------------------------------------

    def _found(self) -> Any:
        factory = self._pylon.TlFactory.GetInstance()
        known = factory.EnumerateDevices()
        serials = [d.GetSerialNumber() for d in known]
        wanted = self._options.serial
        if not known or (wanted is not None and wanted not in serials):
            raise ConnectionLost(
                f"{self.name}: no camera{'' if wanted is None else f' with serial {wanted}'} is connected; there are "
                f"{', '.join(serials) or 'none'}"
            )
        if wanted is None and len(known) > 1:
            raise DeviceError(
                f"{self.name}: which camera? Give its `serial`; there are {', '.join(serials)}"
            )
        return factory.CreateDevice(known[0 if wanted is None else serials.index(wanted)])

    def _node(self, name: str) -> Any:
        """A feature that can be written, or None: what a model lacks is a placeholder."""
        node = getattr(self._camera, name)
        return node if self._genicam.IsWritable(node) else None

    def _set(self, name: str, value: object) -> None:
        """Set a feature and read it back; DeviceError where it differs. A model without it needs no setting."""
        node = self._node(name)
        if node is None:
            if name == "PixelFormat":
                raise DeviceError(f"{self.name}: its pixel format cannot be set to {value}")
            return
        node.Value = value
        if node.Value != value:
            raise DeviceError(f"{self.name}: {name} = {value} was set, {node.Value} is read")

    def _trigger(self) -> None:
        self._set("TriggerSelector", "FrameStart")
        if self._options.trigger is None:
            self._set("TriggerMode", "Off")
            return
        if self._node("TriggerMode") is None or self._node("TriggerSource") is None:
            raise DeviceError(f"{self.name}: the camera has no trigger")
        self._set("TriggerMode", "On")
        self._set("TriggerSource", self._options.trigger)

    def _renew(self) -> None:
        """After an error the camera is opened anew: pictures that are still on the way are dropped with it."""
        if self._broken:
            with suppress(HilonnError):
                self._close()
            self._open()

    @contextmanager
    def _named(self, doing: str) -> Iterator[None]:
        """Within: pylon's errors become ours."""
        try:
            yield
        except HilonnError:
            self._broken = True
            raise
        except self._genicam.GenericException as error:
            self._broken = True
            text = f"{self.name}: {doing}: pylon says {type(error).__name__}: {' '.join(str(error).split())}"
            if isinstance(error, self._genicam.TimeoutException):
                raise DeviceTimeout(text) from error
            camera = self._camera
            if doing == "open" or (camera is not None and camera.IsCameraDeviceRemoved()):
                raise ConnectionLost(f"{text}; is another program using it?") from error
            raise DeviceError(text) from error
        except AttributeError as error:
            raise ConnectionLost(
                f"{self.name}: {doing}: the camera is not open ({error})"
            ) from error


def _build(name: str, options: Any, connection: object) -> Device:
    if connection is not None:
        raise ConfigError(f"devices.{name}: pylon finds its camera itself; it takes no connection")
    return Camera(name, options)


camera = Driver(options=CameraOptions, build=_build)
