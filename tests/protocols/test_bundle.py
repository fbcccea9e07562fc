import hashlib
import io
import zipfile

from protocols.bundle import CLIENT_APP, SERVER_APP, VERSION, build_bundle, bundle_hash


def test_bundle_bytes_never_change_within_a_version():
    # Fixed here on purpose: another hash under the same version locks partners out.
    assert VERSION == "1.0.0"
    assert bundle_hash() == "7ba91447628ffbf5c8fb56f64698cd9b77b7c81f2c8cc3e11cf8ce40f7c96d74"


def test_bundle_is_a_sound_archive_without_code():
    with zipfile.ZipFile(io.BytesIO(build_bundle())) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["pyproject.toml", ".info/CONTENT"]
        project = archive.read("pyproject.toml")
        content = archive.read(".info/CONTENT").decode()
    assert content == f"pyproject.toml,{hashlib.sha256(project).hexdigest()},{len(project) * 8}"


def test_bundle_names_the_installed_components():
    with zipfile.ZipFile(io.BytesIO(build_bundle())) as archive:
        project = archive.read("pyproject.toml").decode()
    assert f'serverapp = "{SERVER_APP}"' in project
    assert f'clientapp = "{CLIENT_APP}"' in project


def test_hash_is_of_the_bytes():
    assert bundle_hash() == hashlib.sha256(build_bundle()).hexdigest()
