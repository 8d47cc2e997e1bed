"""What readers get: report.html, table.html, claims.html, sentences.html, from templates/.

report.py writes the page of a sweep, summary.py its tables in every format, claims.py the page of the studies; web.py
makes one file of a template. Begin with report.py.
"""
