"""Results as DICOM objects for the study of a radiograph. Torch-free; needs the extra `pacs`."""
