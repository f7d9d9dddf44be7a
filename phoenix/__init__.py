"""The domain: site model, derivations, certificates, API clients. No pyinfra in here."""
