from django.apps import AppConfig


class BenchmarkConfig(AppConfig):
    name = "benchmarks.site"
    label = "benchmark"

    def ready(self) -> None:
        from tests.site import counting  # it wants Django's signals, which are there now

        counting.start()
