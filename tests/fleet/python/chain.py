"""The whole chain as a user's own Python program sees it: only Google's official clients and FFmpeg's `ffprobe`.

    chain.py REQUEST.json SOURCE FOLDER

Uploads SOURCE to the object that the request names, publishes the request to the topic `export-requests`, watches the
batch's documents with `on_snapshot` until they are final, downloads each output into FOLDER and probes it. Prints a
summary as one JSON object. The clients read the addresses from their conventional environment variables.
"""

import json
import os
import queue
import subprocess
import sys
import time

from google.auth.credentials import AnonymousCredentials
from google.cloud import firestore, pubsub_v1, storage

FINAL = {"completed", "partial", "failed", "cancelled"}
TIMEOUT_SECONDS = 120
PROJECT = os.environ["GOOGLE_CLOUD_PROJECT"]


def blob_at(gcs, uri):
    bucket, name = uri.removeprefix("gs://").split("/", 1)
    return gcs.bucket(bucket).blob(name)


class History:
    """The values of one document over time, without repetitions."""

    def __init__(self):
        self.statuses, self.phases, self.progress, self.last = [], [], [], {}

    def add(self, document):
        self.last = document
        for seen, field in ((self.statuses, "status"), (self.phases, "phase"), (self.progress, "progress")):
            value = document.get(field)
            if value is not None and (not seen or seen[-1] != value):
                seen.append(value)

    def is_final(self):
        return self.last.get("status") in FINAL


def watch(db, batch_id, clip_ids):
    """Watches a batch to its end. Returns the histories of the batch and of each clip, and the number of snapshots."""
    arriving = queue.Queue()
    reference = db.collection("exportBatches").document(batch_id)

    def enqueue(kind):
        # Snapshots arrive on a thread of the client; this thread processes them.
        return lambda documents, changes, read_time: arriving.put((kind, [(d.id, d.to_dict()) for d in documents]))

    watches = [reference.on_snapshot(enqueue("batch")), reference.collection("clips").on_snapshot(enqueue("clips"))]
    batch, clips, snapshots = History(), {id: History() for id in clip_ids}, 0
    end = time.monotonic() + TIMEOUT_SECONDS
    while not (batch.is_final() and all(clip.is_final() for clip in clips.values())):
        try:
            kind, documents = arriving.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            states = {"batch": batch.statuses} | {id: clip.statuses for id, clip in clips.items()}
            sys.exit(f"the batch did not end within {TIMEOUT_SECONDS} s: {states}")
        snapshots += 1
        for id, document in documents:
            (batch if kind == "batch" else clips[id]).add(document)
    for watch in watches:
        watch.unsubscribe()
    return batch, clips, snapshots


def probe(file):
    """The properties of a file, read by FFprobe."""
    entries = ["-show_entries", "stream=codec_type,codec_name,width,height,duration,nb_read_frames:format=duration"]
    command = ["ffprobe", "-v", "error", "-count_frames", *entries, "-of", "json", file]
    report = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    streams = {stream["codec_type"]: stream for stream in report["streams"]}
    video, audio = streams["video"], streams.get("audio", {})
    return {
        "width": video["width"],
        "height": video["height"],
        "video": video["codec_name"],
        "audio": audio.get("codec_name"),
        "frames": int(video["nb_read_frames"]),
        "videoSeconds": float(video["duration"]),
        "audioSeconds": float(audio.get("duration", 0)),
    }


def main(request_file, source, folder):
    with open(request_file, encoding="utf-8") as file:
        request = json.load(file)
    gcs = storage.Client(project=PROJECT, credentials=AnonymousCredentials())
    db = firestore.Client(project=PROJECT)
    publisher = pubsub_v1.PublisherClient()

    blob_at(gcs, request["source"]["uri"]).upload_from_filename(source, if_generation_match=0)
    topic = publisher.topic_path(PROJECT, "export-requests")
    message_id = publisher.publish(topic, json.dumps(request).encode()).result(30)
    batch, clips, snapshots = watch(db, request["batchId"], [clip["clipId"] for clip in request["clips"]])

    summary = {"messageId": message_id, "snapshots": snapshots, "clips": {}}
    summary["batch"] = {"statuses": batch.statuses, "progress": batch.progress}
    for id, clip in clips.items():
        shown = {"statuses": clip.statuses, "phases": clip.phases, "progress": clip.progress}
        summary["clips"][id] = shown
        if clip.last["status"] != "completed":
            shown["error"] = str(clip.last.get("error"))
            continue
        blob = blob_at(gcs, clip.last["outputUri"])
        file = os.path.join(folder, f"{id}.mp4")
        blob.download_to_filename(file, checksum="crc32c")
        shown |= {"bytes": os.path.getsize(file), "outputSizeBytes": clip.last["outputSizeBytes"], **probe(file)}
        shown["contentType"] = blob.content_type
    print(json.dumps(summary))


if __name__ == "__main__":
    main(*sys.argv[1:])
