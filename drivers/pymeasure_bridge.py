"""PyMeasure instruments as devices of ours: any driver of PyMeasure, or of a lab's installed package.

Source: PyMeasure 0.16, pymeasure.instruments (Instrument, Channel, SCPIMixin), pymeasure.adapters.VISAAdapter.
"""

from __future__ import annotations

import inspect
from typing import Any

from hilonn.devices import Identity
from hilonn.drivers.bridge import BridgeOptions, Library, Parameter
from hilonn.drivers.bridged import bridge
from hilonn.drivers.libraries import installed_class, library
from hilonn.drivers.page import DriverPage

PAGE = DriverPage(
    instruments="whatever PyMeasure has a driver for (extra `pymeasure`)",
    wiring=(
        "As PyMeasure says for the instrument; `address` is its VISA resource, `arguments` go to its class (`read_termination` and "
        "`write_termination` of a raw socket, for example). Properties are named with their channel before them: "
        "`ch_1.voltage_setpoint`."
    ),
    connection="",
    device=(
        'driver = "pymeasure"\ninstrument = "pymeasure.instruments.santec.TSL570"\n'
        'address = "TCPIP::192.168.1.11::5000::SOCKET"\n'
        'arguments = { read_termination = "\\r", write_termination = "\\r" }\n'
        'require = { command_set = "Legacy", power_unit = "mW" }\n'
        'laser = { power = "power_setpoint", emission = "output_enabled", wavelength = "wavelength_setpoint", '
        "max_power = 0.01, wavelengths = [1.5e-6, 1.6e-6], wavelength_resolution = 1e-11 }"
    ),
    quirks=(
        (
            "A name that is no property would be set on the Python object, and nothing sent: only properties of the class "
            "are taken.",
            "Python; pymeasure.instruments.common_base",
        ),
        (
            "`truncated_range` clips without a word: every setting is read back, and one that differs is an error.",
            "pymeasure.instruments.validators",
        ),
        (
            "`%g` sends six digits (a grid of 10 pm in nm): set `wavelength_resolution` accordingly.",
            "PyMeasure 0.16, tsl500series",
        ),
        (
            "`check_errors` writes errors into a log and goes on: `error_query` makes them errors.",
            "pymeasure.instruments.SCPIMixin",
        ),
        (
            "redpitaya_scpi reads binary blocks as 64-bit integers: wrong values.",
            "PyMeasure 0.16",
        ),
    ),
    unverified=(
        "Over GPIB, USB and VXI-11 an answer that comes late is dropped by the bus; over sockets and serial lines the bridge looks.",
        "Instruments whose class does not take the address first are not known to the bridge.",
    ),
)


class PymeasureOptions(BridgeOptions):
    __doc__ = BridgeOptions.__doc__


class Pymeasure(Library):
    """PyMeasure, for one class of instruments."""

    name = "PyMeasure"

    def __init__(self, dotted: str) -> None:
        instruments = library("pymeasure.instruments", "pymeasure")
        self._class = installed_class(dotted, instruments.Instrument)
        self._parts = library("pymeasure.instruments.common_base", "pymeasure").CommonBase

    def build(self, device: str, options: BridgeOptions) -> Any:
        address = () if options.address is None else (options.address,)
        instrument = self._class(*address, **options.arguments)
        resource = self.resource(instrument)
        if resource is not None:
            resource.timeout = 1e3 * options.timeout
        return instrument

    def find(self, instrument: Any, path: str) -> Parameter:
        """Through channels, to a property of the class: setting anything else would send nothing."""
        *channels, last = path.split(".")
        at = instrument
        for part in channels:
            found = inspect.getattr_static(at, part, None)
            if not isinstance(found, self._parts):
                raise LookupError(f"{type(at).__name__} has no channel {part!r}")
            at = found
        if not isinstance(inspect.getattr_static(type(at), last, None), property):
            raise LookupError(f"{type(at).__name__} has no property {last!r}")
        return Parameter(lambda: getattr(at, last), lambda value: setattr(at, last, value))

    def identity(self, instrument: Any) -> Identity:
        parts = [p.strip() for p in str(self.find(instrument, "id").get()).split(",", 3)]
        return Identity(*(parts + [""] * 4)[:4])

    def resource(self, instrument: Any) -> Any:
        return getattr(getattr(instrument, "adapter", None), "connection", None)

    def close(self, instrument: Any) -> None:
        instrument.adapter.close()


pymeasure = bridge(Pymeasure, PymeasureOptions)
