"""Names of the files in a trial's folder and in a sweep's folder."""

# What stands in a trial's folder.
REQUEST = "spec.json"  # what was asked
PLAN = "plan.json"  # what is kept
LOG = "log.txt"  # whatever the trial and its libraries print
RUNG = "rung.json"  # the record as it stood at the latest rung
CHECKPOINT = "checkpoint.safetensors"  # gone once there is a record
RECORD = "record.json"  # written last
REPORT = "report.json"  # of the closing pass
REPORT_SCORES = "report_scores.json"  # its first half, until latency is measured
SEARCH_SAMPLES = "search_samples.parquet"  # what every question of the search split scored
REPORT_SAMPLES = "report_samples.parquet"  # and of the report split

# What stands in a sweep's folder: the questions that all models are shown with, and their pictures.
GALLERY = "gallery/gallery.json"
