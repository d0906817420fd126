"""The camera on Basler's own emulation: contract, regions of a known picture, saturation, triggers, failed pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hilonn.devices import Device, Timing
from hilonn.drivers.camera import Camera, CameraOptions, camera
from hilonn.errors import ConfigError, ConnectionLost, DeviceError, DeviceTimeout
from hilonn.testing import PhotodetectorsContract

pytestmark = pytest.mark.filterwarnings("ignore:builtin type:DeprecationWarning")
REGIONS = [(0, 0, 8, 8), (100, 40, 10, 6), (500, 300, 20, 20)]
TIMING = Timing(sample_period=0.2)


@pytest.fixture(autouse=True)
def emulation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYLON_CAMEMU", "2")
    pytest.importorskip("pypylon.pylon", reason="the extra `camera` is not installed")


def made(**more: Any) -> Camera:
    chosen = {
        "regions": REGIONS,
        "exposures": [1e-3, 1e-2],
        "serial": "0815-0000",
        "pixel_format": "Mono8",
        **more,
    }
    device = camera.build("camera", CameraOptions.model_validate(chosen), None)
    assert isinstance(device, Camera)
    return device


def fast(device: Camera) -> Camera:
    """The emulation takes ten pictures a second unless told otherwise."""
    device._camera.AcquisitionFrameRateEnable.Value = True
    device._camera.AcquisitionFrameRateAbs.Value = 1000.0
    return device


def show(device: Camera, picture: np.ndarray, folder: Path) -> None:
    """Let the emulated camera see ``picture``."""
    from pypylon import pylon

    path = folder / "picture.tiff"
    image = pylon.PylonImage()
    image.AttachArray(np.ascontiguousarray(picture), pylon.PixelType_Mono8)
    image.Save(pylon.ImageFileFormat_Tiff, str(path))
    device._camera.ImageFilename.Value = str(path)
    device._camera.ImageFileMode.Value = "On"
    device._camera.TestImageSelector.Value = "Off"


class TestCamera(PhotodetectorsContract):
    @pytest.fixture
    def device(self) -> Iterator[Device]:
        with made() as opened:
            yield fast(opened)


def test_a_channel_is_the_mean_of_its_region(tmp_path: Path) -> None:
    picture = np.zeros((1040, 1024), dtype=np.uint8)
    for (x, y, w, h), level in zip(REGIONS, (20, 100, 30), strict=True):
        picture[y : y + h, x : x + w] = level
    picture[305, 505] = 255  # one pixel of the last region
    with made(unit="W", factor=1e-9) as device:
        show(fast(device), picture, tmp_path)
        device.set_range(0)
        device.arm(1, 2, TIMING)
        readings = device.fetch()
        means = np.array([20.0, 100.0, 30.0 + 225.0 / 400])
        np.testing.assert_allclose(readings.signal, [means * 1e-9 / 1e-2])
        np.testing.assert_array_equal(readings.saturated, [[False, False, True]])
        device.set_range(1)
        device.arm(1, 1, TIMING)
        np.testing.assert_allclose(device.fetch().signal, [means * 1e-9 / 1e-3])


def test_exposures_are_ranges_the_longest_smallest() -> None:
    with made(exposures=[1e-4, 1e-2, 1e-3]) as device:
        np.testing.assert_allclose(device.ranges, [255e2, 255e3, 255e4])
        for index, exposure in enumerate((1e4, 1e3, 1e2)):
            device.set_range(index)
            assert device._camera.ExposureTime.Value == pytest.approx(exposure)


@pytest.mark.parametrize(("samples", "averages"), [(3, 1), (2, 2)])
def test_triggered_pictures_are_samples_in_order(samples: int, averages: int) -> None:
    with made(trigger="Software", max_samples=8) as device:
        fast(device)
        device.arm(samples, averages, TIMING)
        for _ in range(samples * averages):
            assert device._camera.WaitForFrameTriggerReady(1000)
            device._camera.TriggerSoftware.Execute()
        readings = device.fetch()
        assert readings.signal.shape == (samples, 3)
        assert (readings.signal > 0).any()
        with pytest.raises(ConfigError, match="are 9 pictures"):
            device.arm(3, 3, TIMING)
        with pytest.raises(DeviceError, match="one is exposed"):
            device.arm(1, 1, Timing(sample_period=1e-4))


def test_a_picture_that_does_not_come_is_a_timeout_and_the_next_is_right() -> None:
    with made(trigger="Software", timeout=0.5) as device:
        fast(device)
        device.arm(1, 1, Timing(sample_period=2e-3))
        with pytest.raises(DeviceTimeout, match="picture 0 of 1 did not come"):
            device.fetch()
        device.arm(1, 1, TIMING)
        assert device._camera.WaitForFrameTriggerReady(5000)
        device._camera.TriggerSoftware.Execute()
        assert device.fetch().signal.shape == (1, 3)


def test_a_failed_picture_is_told_and_the_next_is_right() -> None:
    with made() as device:
        fast(device)
        device._camera.ForceFailedBufferCount.Value = 1
        device._camera.ForceFailedBuffer.Execute()
        device.arm(1, 1, TIMING)
        with pytest.raises(DeviceError, match="picture 0 of 1 failed"):
            device.fetch()
        device.arm(1, 1, TIMING)
        assert device.fetch().signal.shape == (1, 3)


def test_which_camera_has_to_be_said_where_there_are_two() -> None:
    with pytest.raises(DeviceError, match="which camera"):
        made(serial=None).open()
    with pytest.raises(ConnectionLost, match=r"serial 42 is connected; there are 0815-0000"):
        made(serial="42").open()
    with made(serial="0815-0001") as device:
        assert device.identity().serial == "0815-0001"


@pytest.mark.parametrize(
    "more", [{"exposures": [0.0]}, {"exposures": [1e-3, 1e-3]}, {"regions": [(1020, 0, 8, 8)]}]
)
def test_senseless_options_are_refused(more: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        made(**more).open()


def test_an_exposure_that_the_camera_cannot_make_is_told() -> None:
    with pytest.raises(DeviceError, match=r"exposure|pylon says"):
        made(exposures=[1e4]).open()
