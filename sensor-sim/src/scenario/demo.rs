//! The scenario of `gateway demo`: a small market garden.

use std::{path::Path, time::Duration};

use super::{
    Device, Fault, FaultKind, Format, Kind, Mqtt, Qos, Scenario, Serial, Shape, Signal, TimeForm,
    Transport, Version,
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

impl Scenario {
    /// A small market garden: twelve devices, three on pseudo-terminals and nine over MQTT, each with a connection of its
    /// own to `127.0.0.1:mqtt_port`, quality 1. It runs until it is stopped. `config/scenarios/demo.toml` is the same.
    ///
    /// # Serial ports
    ///
    /// Links in `serial_dir`; one reading a line; no time in the payload.
    ///
    /// | link | device | format | fields |
    /// |---|---|---|---|
    /// | `soil-probe` | `soil-probe` | JSON | `soil_moisture` %, `soil_temperature` Cel |
    /// | `weather-mast` | `weather-mast` | CSV, no header | columns `temperature` Cel, `humidity` %, `pressure` hPa, `wind_speed` m/s |
    /// | `battery-shunt` | `battery-shunt` | `key=value`, comma | `voltage` V, `current` A, `power` W |
    ///
    /// # MQTT, JSON
    ///
    /// Topic `greenhouse/<device>/telemetry`; the time is in `time`, epoch milliseconds.
    ///
    /// | device | fields |
    /// |---|---|
    /// | `bench-north`, `bench-south` | `temperature` Cel, `humidity` % |
    /// | `co2-monitor` | `co2` `[ppm]`, `temperature` Cel |
    /// | `irrigation-pump` | `vibration` mm/s, `current` A, `status` text: `idle`, `running`, `flushing` |
    /// | `cold-store-door` | `open` boolean, `battery` V |
    ///
    /// Topic `store/<device>/telemetry`; the time is in `time`, RFC 3339.
    ///
    /// | device | fields |
    /// |---|---|
    /// | `freezer` | `temperature` Cel, `compressor` boolean |
    /// | `energy-meter` | `power` W, `energy` kWh |
    /// | `water-tank` | `level` %, `flow` L/min |
    ///
    /// # MQTT, bare numbers
    ///
    /// Topic `boiler/<metric>`, device `boiler`, no time: `boiler/temperature` Cel, `boiler/return_temperature` Cel,
    /// `boiler/pressure` bar.
    ///
    /// # What goes wrong
    ///
    /// | device | what | when |
    /// |---|---|---|
    /// | `freezer` | `temperature` is 14 too high (−18 becomes −4) for 30 s | after 45 s, then every 2 min |
    /// | `water-tank` | nothing is sent for 40 s | after 90 s, then every 4 min |
    /// | `irrigation-pump` | one spike of `vibration` by 12 (from about 2) | every 100 s |
    /// | `co2-monitor` | `co2` climbs by 900 (from about 600) over 60 s | after 2 min, then every 5 min |
    /// | `weather-mast` | a line of garbage bytes | every 70 s |
    /// | `soil-probe` | unplugged for 10 s | every 6 min |
    /// | `bench-south` | a message sent twice | every 50 s |
    /// | `bench-north` | the connection breaks for 5 s | every 7 min |
    #[must_use]
    pub fn demo(mqtt_port: u16, serial_dir: &Path) -> Self {
        let serial = |link: &str| {
            Transport::Serial(Serial {
                link: Some(serial_dir.join(link)),
            })
        };
        let mqtt = |topic: &str| {
            Transport::Mqtt(Mqtt {
                host: String::from("127.0.0.1"),
                port: mqtt_port,
                topic: topic.to_owned(),
                qos: Qos::AtLeastOnce,
                retain: false,
                username: None,
                password: None,
                version: Version::V3,
            })
        };
        let greenhouse = "greenhouse/{device}/telemetry";
        let store = "store/{device}/telemetry";

        let mut soil = Device::new("soil-probe", serial("soil-probe"), Format::Json, 2 * SECOND);
        soil.signals = vec![
            number(
                "soil_moisture",
                "%",
                Shape::Sine,
                34.0,
                6.0,
                10 * MINUTE,
                0.3,
                1,
            ),
            number(
                "soil_temperature",
                "Cel",
                Shape::DailyCurve,
                16.0,
                2.0,
                MINUTE,
                0.05,
                2,
            ),
        ];
        soil.faults = vec![regular(
            FaultKind::Disconnect,
            6 * MINUTE,
            Some(10 * SECOND),
        )];

        let mut mast = Device::new("weather-mast", serial("weather-mast"), Format::Csv, SECOND);
        mast.signals = vec![
            number(
                "temperature",
                "Cel",
                Shape::DailyCurve,
                14.0,
                6.0,
                MINUTE,
                0.1,
                2,
            ),
            Signal {
                max: Some(100.0),
                ..number(
                    "humidity",
                    "%",
                    Shape::RandomWalk,
                    68.0,
                    12.0,
                    MINUTE,
                    0.2,
                    1,
                )
            },
            number(
                "pressure",
                "hPa",
                Shape::RandomWalk,
                1_013.0,
                6.0,
                MINUTE,
                0.05,
                2,
            ),
            Signal {
                min: Some(0.0),
                ..number(
                    "wind_speed",
                    "m/s",
                    Shape::RandomWalk,
                    4.0,
                    4.0,
                    MINUTE,
                    0.6,
                    1,
                )
            },
        ];
        mast.faults = vec![regular(FaultKind::Garbage, 70 * SECOND, None)];

        let mut shunt = Device::new(
            "battery-shunt",
            serial("battery-shunt"),
            Format::KeyValue,
            SECOND,
        );
        shunt.signals = vec![
            number("voltage", "V", Shape::Sine, 26.4, 0.8, 8 * MINUTE, 0.02, 2),
            number("current", "A", Shape::Sine, 3.0, 9.0, 4 * MINUTE, 0.15, 2),
            number("power", "W", Shape::Sine, 79.0, 238.0, 4 * MINUTE, 4.0, 0),
        ];

        let mut north = timed("bench-north", mqtt(greenhouse), TimeForm::EpochMs, SECOND);
        north.signals = bench(23.5, 61.0);
        north.faults = vec![regular(FaultKind::Disconnect, 7 * MINUTE, Some(5 * SECOND))];

        let mut south = timed("bench-south", mqtt(greenhouse), TimeForm::EpochMs, SECOND);
        south.signals = bench(25.0, 57.0);
        south.faults = vec![regular(FaultKind::Duplicate, 50 * SECOND, None)];

        let mut co2 = timed(
            "co2-monitor",
            mqtt(greenhouse),
            TimeForm::EpochMs,
            2 * SECOND,
        );
        co2.signals = vec![
            number(
                "co2",
                "[ppm]",
                Shape::RandomWalk,
                620.0,
                120.0,
                MINUTE,
                4.0,
                0,
            ),
            number(
                "temperature",
                "Cel",
                Shape::RandomWalk,
                24.0,
                1.0,
                MINUTE,
                0.05,
                1,
            ),
        ];
        co2.faults = vec![Fault {
            metric: Some(String::from("co2")),
            magnitude: 900.0,
            after: Some(2 * MINUTE),
            ..regular(FaultKind::Drift, 5 * MINUTE, Some(MINUTE))
        }];

        let mut pump = timed(
            "irrigation-pump",
            mqtt(greenhouse),
            TimeForm::EpochMs,
            SECOND,
        );
        pump.signals = vec![
            Signal {
                min: Some(0.0),
                ..number(
                    "vibration",
                    "mm/s",
                    Shape::Constant,
                    2.1,
                    1.0,
                    MINUTE,
                    0.25,
                    2,
                )
            },
            number(
                "current",
                "A",
                Shape::Square,
                4.0,
                2.5,
                90 * SECOND,
                0.05,
                2,
            ),
            Signal {
                kind: Kind::Text,
                texts: ["idle", "running", "flushing"].map(String::from).to_vec(),
                ..number("status", "", Shape::Saw, 0.0, 3.0, 3 * MINUTE, 0.0, 2)
            },
        ];
        pump.faults = vec![Fault {
            metric: Some(String::from("vibration")),
            magnitude: 12.0,
            ..regular(FaultKind::Spike, 100 * SECOND, None)
        }];

        let mut door = timed(
            "cold-store-door",
            mqtt(greenhouse),
            TimeForm::EpochMs,
            5 * SECOND,
        );
        door.signals = vec![
            Signal {
                kind: Kind::Boolean,
                ..number("open", "", Shape::RandomWalk, 0.2, 1.2, MINUTE, 0.2, 2)
            },
            Signal {
                drift_per_hour: -0.002,
                ..number("battery", "V", Shape::Constant, 3.02, 1.0, MINUTE, 0.004, 3)
            },
        ];

        let mut freezer = timed("freezer", mqtt(store), TimeForm::Rfc3339, SECOND);
        freezer.signals = vec![
            number(
                "temperature",
                "Cel",
                Shape::Sine,
                -18.5,
                1.2,
                80 * SECOND,
                0.08,
                2,
            ),
            Signal {
                kind: Kind::Boolean,
                ..number(
                    "compressor",
                    "",
                    Shape::Square,
                    0.5,
                    0.5,
                    80 * SECOND,
                    0.0,
                    2,
                )
            },
        ];
        freezer.faults = vec![Fault {
            metric: Some(String::from("temperature")),
            magnitude: 14.0,
            after: Some(45 * SECOND),
            ..regular(FaultKind::Spike, 2 * MINUTE, Some(30 * SECOND))
        }];

        let mut meter = timed("energy-meter", mqtt(store), TimeForm::Rfc3339, SECOND);
        meter.signals = vec![
            Signal {
                min: Some(0.0),
                ..number(
                    "power",
                    "W",
                    Shape::RandomWalk,
                    1_400.0,
                    900.0,
                    MINUTE,
                    25.0,
                    0,
                )
            },
            number(
                "energy",
                "kWh",
                Shape::Counter,
                18_204.0,
                0.0004,
                MINUTE,
                0.0,
                4,
            ),
        ];

        let mut tank = timed("water-tank", mqtt(store), TimeForm::Rfc3339, 2 * SECOND);
        tank.signals = vec![
            number("level", "%", Shape::Saw, 92.0, -40.0, 15 * MINUTE, 0.1, 1),
            Signal {
                min: Some(0.0),
                ..number("flow", "L/min", Shape::Sine, 6.0, 5.0, 3 * MINUTE, 0.3, 1)
            },
        ];
        tank.faults = vec![Fault {
            after: Some(90 * SECOND),
            ..regular(FaultKind::DropOut, 4 * MINUTE, Some(40 * SECOND))
        }];

        let mut boiler = Device::new(
            "boiler",
            mqtt("boiler/{metric}"),
            Format::Number,
            2 * SECOND,
        );
        boiler.signals = vec![
            number(
                "temperature",
                "Cel",
                Shape::Sine,
                62.0,
                6.0,
                5 * MINUTE,
                0.2,
                1,
            ),
            number(
                "return_temperature",
                "Cel",
                Shape::Sine,
                48.0,
                4.0,
                5 * MINUTE,
                0.2,
                1,
            ),
            number(
                "pressure",
                "bar",
                Shape::RandomWalk,
                1.6,
                0.15,
                MINUTE,
                0.01,
                2,
            ),
        ];

        Self {
            seed: 2026,
            duration: None,
            devices: vec![
                soil, mast, shunt, north, south, co2, pump, door, freezer, meter, tank, boiler,
            ],
        }
    }
}

fn timed(id: &str, transport: Transport, time: TimeForm, interval: Duration) -> Device {
    Device {
        time,
        ..Device::new(id, transport, Format::Json, interval)
    }
}

fn bench(temperature: f64, humidity: f64) -> Vec<Signal> {
    vec![
        Signal {
            drift_per_hour: 0.3,
            ..number(
                "temperature",
                "Cel",
                Shape::Sine,
                temperature,
                1.5,
                7 * MINUTE,
                0.08,
                2,
            )
        },
        Signal {
            max: Some(100.0),
            ..number(
                "humidity",
                "%",
                Shape::RandomWalk,
                humidity,
                8.0,
                MINUTE,
                0.3,
                1,
            )
        },
    ]
}

#[expect(
    clippy::too_many_arguments,
    reason = "one row of a table; named fields would hide it"
)]
fn number(
    metric: &str,
    unit: &str,
    shape: Shape,
    offset: f64,
    amplitude: f64,
    period: Duration,
    noise: f64,
    decimals: u8,
) -> Signal {
    Signal {
        offset,
        amplitude,
        period,
        noise,
        decimals,
        ..Signal::new(metric, (!unit.is_empty()).then_some(unit), shape)
    }
}

fn regular(kind: FaultKind, every: Duration, lasts: Option<Duration>) -> Fault {
    Fault {
        every: Some(every),
        lasts,
        ..Fault::new(kind)
    }
}
