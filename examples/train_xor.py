"""A simulated chip learns xor, from Python."""

import hilonn


def main() -> None:
    """Train, and print the accuracy on held-out points."""
    with hilonn.Bench.open("simulated", seed=0) as bench:
        data = hilonn.load_dataset("xor").centred()
        network = hilonn.Network(
            hilonn.Dense(2, 8, activation="saturating_square"),
            hilonn.Dense(8, 2),
        )
        rule = hilonn.TwoPass(feedback_scale=1.0, rate=0.02, hidden_rate=0.2)
        trainer = hilonn.Trainer(bench.chip(), network, rule, seed=0)
        trainer.fit(data.train, validation=data.validation, epochs=25, batch=20)
        print(f"test accuracy {trainer.evaluate(data.test).accuracy:.1%}")


if __name__ == "__main__":
    main()
