"""What a person looks at: the report of a scoring job, previews, clips and annotated copies of videos."""
