"""QCoDeS instruments as devices of ours: any driver of QCoDeS, of its contributors, or of a lab's installed package.

Source: QCoDeS 0.58, qcodes.instrument (VisaInstrument, InstrumentBase), qcodes.parameters.
"""

from __future__ import annotations

import itertools
import re
from typing import Any

from hilonn.devices import Identity
from hilonn.drivers.bridge import BridgeOptions, Library, Parameter
from hilonn.drivers.bridged import bridge
from hilonn.drivers.libraries import installed_class, library
from hilonn.drivers.page import DriverPage

PAGE = DriverPage(
    instruments="whatever QCoDeS has a driver for (extra `qcodes`)",
    wiring=(
        "As QCoDeS says for the instrument; `address` is its VISA resource, `arguments` go to its class. Parameters are named "
        "with their submodules before them: `ch1.set_voltage`, `smua.volt`."
    ),
    connection="",
    device=(
        'driver = "qcodes"\ninstrument = "qcodes.instrument_drivers.rigol.RigolDP832"\n'
        'address = "TCPIP::192.168.1.9::5555::SOCKET"\narguments = { terminator = "\\n" }\n'
        'phase_shifters = { channels = ["ch1.set_voltage", "ch2.set_voltage"], low = 0.0, high = 8.0, '
        'switches = ["ch1.state", "ch2.state"], on = "on", off = "off" }'
    ),
    quirks=(
        (
            "Constructors may reset their instrument. It is constructed when the bench is opened, and again after an exchange "
            "that failed; see what yours does before heaters are plugged in.",
            "QCoDeS drivers",
        ),
        (
            "`get_idn` answers its own name where the instrument does not answer: taken as an error here.",
            "qcodes.instrument.Instrument.get_idn",
        ),
        (
            "Parameters without a command of their own only remember what was set; they prove nothing and are refused.",
            "qcodes.parameters.Parameter",
        ),
        ("N6705B sets its over-voltage limit with a wrong channel list: never set.", "QCoDeS 0.58"),
        ("`Connected to` is printed to stdout; it goes to stderr here.", "connect_message"),
    ),
    unverified=(
        "A class that takes no address and name as its first two arguments is not known to the bridge.",
        "Over GPIB, USB and VXI-11 an answer that comes late is dropped by the bus; over sockets and serial lines the bridge looks.",
    ),
)
_COUNT = itertools.count()


class QcodesOptions(BridgeOptions):
    __doc__ = BridgeOptions.__doc__


class Qcodes(Library):
    """QCoDeS, for one class of instruments."""

    name = "QCoDeS"

    def __init__(self, dotted: str) -> None:
        instruments = library("qcodes.instrument", "qcodes")
        self._class = installed_class(dotted, instruments.Instrument)
        self._module = instruments.InstrumentBase
        self._visa = issubclass(self._class, instruments.VisaInstrument)
        self._parameter = library("qcodes.parameters", "qcodes").ParameterBase

    def build(self, device: str, options: BridgeOptions) -> Any:
        """Names are unique within a process, also of instruments that were not closed well."""
        name = re.sub(r"\W", "_", f"hilonn_{device}_{next(_COUNT)}")
        more: dict[str, Any] = dict(options.arguments)
        if self._visa:
            more.setdefault("timeout", options.timeout)
        address = () if options.address is None else (options.address,)
        return self._class(name, *address, **more)

    def find(self, instrument: Any, path: str) -> Parameter:
        """Through submodules and parameters only: attributes may do anything."""
        *modules, last = path.split(".")
        at = instrument
        for part in modules:
            if part not in at.submodules or not isinstance(at.submodules[part], self._module):
                raise LookupError(f"no submodule {part!r}; there are {', '.join(at.submodules)}")
            at = at.submodules[part]
        if last not in at.parameters:
            raise LookupError(f"no parameter {last!r}; there are {', '.join(at.parameters)}")
        parameter = at.parameters[last]
        if getattr(getattr(parameter, "get_raw", None), "__name__", "") == "_get_manual_parameter":
            raise LookupError(
                f"{path} only remembers what it was set to; the instrument is not asked"
            )
        # Those that can only be read have no `set`, and the other way round.
        return Parameter(lambda: parameter.get(), lambda value: parameter.set(value))

    def identity(self, instrument: Any) -> Identity:
        found = instrument.get_idn()
        texts = [str(found.get(key) or "") for key in ("vendor", "model", "serial", "firmware")]
        return Identity(*texts)

    def resource(self, instrument: Any) -> Any:
        return instrument.visa_handle if self._visa else None

    def close(self, instrument: Any) -> None:
        instrument.close()


qcodes = bridge(Qcodes, QcodesOptions)
