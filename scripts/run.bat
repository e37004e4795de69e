@echo off
rem Sets up what is missing, then: video + prompt -> puppet. The same as scripts/run.sh.
setlocal
for %%P in ("py -3.11" "python" "py -3" "python3") do (
  %%~P -c "import sys; sys.exit(sys.version_info < (3, 11))" >nul 2>nul && set "PYTHON=%%~P" && goto found
)
echo restage4d: Python 3.11 or newer was not found. Install Python 3.11 from python.org, then start again. 1>&2
exit /b 1
:found
%PYTHON% "%~dp0bootstrap.py" run %*
exit /b %errorlevel%
