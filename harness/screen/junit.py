"""A result as JUnit XML, which editors and CI systems read."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from harness.protocol import DayResult


def junit_xml(results: list[DayResult]) -> str:
    suites = ET.Element("testsuites")
    for result in results:
        tests = result.tests
        failed = [t for t in tests if t.outcome in ("failed", "unfinished")]
        suite = ET.SubElement(
            suites,
            "testsuite",
            name=f"{result.track} day {result.day}",
            tests=str(len(tests) + len(result.problems)),
            failures=str(len(failed)),
            errors=str(len(result.problems)),
            skipped=str(len(result.skipped)),
            time=f"{result.seconds:.3f}",
        )
        for problem in result.problems:
            case = ET.SubElement(suite, "testcase", classname=result.track, name="the day's file")
            _complaint(case, "error", problem.message, problem.file, problem.line, problem.detail)
        for test in tests:
            case = ET.SubElement(
                suite,
                "testcase",
                classname=f"{result.track}.day{result.day:02d}.{test.exercise}",
                name=test.name,
                time=f"{test.seconds:.3f}",
            )
            if test.outcome == "skipped":
                ET.SubElement(case, "skipped", message=test.skipped)
            elif test.outcome == "unfinished":
                _complaint(case, "failure", "was not run: the process ended before it", "", 0, "")
            elif test.failure is not None:
                f = test.failure
                _complaint(case, "failure", f.message, f.file, f.line, f.detail)
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _complaint(
    case: ET.Element, kind: str, message: str, file: str, line: int, detail: str
) -> None:
    element = ET.SubElement(case, kind, message=_printable(message))
    place = f"{file}:{line}\n" if file else ""
    element.text = _printable(place + detail)


def _printable(text: str) -> str:
    """XML 1.0 has no control characters but tab and line ends."""
    return "".join(c if c >= " " or c in "\t\n\r" else "?" for c in text)
